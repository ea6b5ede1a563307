//go:build emulate

package cuda

import (
	"image"
	"image/color"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/models/sdxl"
)

// TestEmulatedImagePrompts: with IP-Adapters, base and plus, with masks and without, a run on a card is no further from
// that in float32 on a CPU than twice as far as one without image prompts, and they change it far more.
func TestEmulatedImagePrompts(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	card, err := open(drv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	exact, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "adapters")
	if err := sdxl.SynthesiseIPAdapters(t.Context(), true, kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	picture, mask := image.NewNRGBA(image.Rect(0, 0, 50, 40)), image.NewGray(image.Rect(0, 0, 64, 64))
	for y := range 64 { // what is outside an image is not set
		for x := range 64 {
			picture.SetNRGBA(x, y, color.NRGBA{uint8(5 * x), uint8(6 * y), uint8(x * y), 255})
			mask.SetGray(x, y, color.Gray{uint8(255 * (x / 24 % 2))})
		}
	}
	prompt := func(name string, m image.Image) sdxl.IPAdapter {
		return sdxl.IPAdapter{Path: filepath.Join(dir, "sdxl_models", name+".safetensors"), Images: []image.Image{picture}, Mask: m}
	}
	latents := func(d kernels.Device, prompts ...sdxl.IPAdapter) []float32 {
		t.Helper()
		return tinyLatents(t, d, sdxl.Request{Width: 64, Height: 64, IPAdapters: prompts})
	}
	plain := latents(exact)
	without := distanceOf(t, latents(card), plain)
	for name, prompts := range map[string][]sdxl.IPAdapter{
		"base":         {prompt("ip-adapter_sdxl", nil)},
		"plus":         {prompt("ip-adapter-plus_sdxl_vit-h", nil)},
		"both, masked": {prompt("ip-adapter_sdxl_vit-h", mask), prompt("ip-adapter-plus_sdxl_vit-h", mask)},
	} {
		want := latents(exact, prompts...)
		far, moved := distanceOf(t, latents(card, prompts...), want), distanceOf(t, want, plain)
		t.Logf("%s: %.2g from float32, without %.2g, moved by %.2g", name, far, without, moved)
		if !(far <= 2*without) || moved < 20*without {
			t.Errorf("%s: %v from float32, want at most %v; moved by %v", name, far, 2*without, moved)
		}
	}
	for _, d := range []kernels.Device{card, exact} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// tinyLatents are those of two steps of the tiny model.
func tinyLatents(t *testing.T, d kernels.Device, r sdxl.Request) []float32 {
	t.Helper()
	host, err := sdxl.NewHost(d, nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := sdxl.Open(t.Context(), "synth:tiny", sdxl.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	r.Prompt, r.Steps, r.Seed, r.LatentsOnly = "a lighthouse", 2, new(uint64(7)), true
	result, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return result.Latents.Data
}

func distanceOf(t *testing.T, a, b []float32) float64 {
	t.Helper()
	far, err := golden.Distance(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return far
}
