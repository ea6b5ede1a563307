//go:build parity

package sdxl

import (
	"bytes"
	"context"
	"io/fs"
	"math"
	"os"
	"runtime/debug"
	"testing"
	"time"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
)

// fullTolerance is the relative error that a full-size component may have against diffusers in float32.
const fullTolerance = 1e-4

// TestParityFull compares every full-size component, with synthetic fp16 weights at 512×512, with diffusers. See the Makefile's parity-full.
func TestParityFull(t *testing.T) {
	g := golden.Open(t, testdata+"/full.safetensors")
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	for _, component := range []string{"text_encoder", "text_encoder_2"} {
		t.Run(component, func(t *testing.T) { fullEncoder(t, g, dev, component) })
	}
	t.Run("vae", func(t *testing.T) { fullVAE(t, g, dev) })
	t.Run("unet", func(t *testing.T) { fullUNet(t, g, dev, "unet", "base", 201) })
	t.Run("refiner", func(t *testing.T) { fullUNet(t, g, dev, "refiner", "refiner", 301) })
}

func fullConfig(t *testing.T, model, component string) []byte {
	data, err := fs.ReadFile(synthetic, "synthetic/"+model+"/"+component+"/config.json")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func fullEncoder(t *testing.T, g *golden.File, dev kernels.Device, component string) {
	config, err := clip.ParseConfig(fullConfig(t, "base", component), component)
	if err != nil {
		t.Fatal(err)
	}
	e, err := clip.Open(dev, weights.Synthetic(component, nn.Shapes(clip.New(config)), kernels.F16), config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	flat, shape := g.Ints(component + ".ids")
	started := time.Now()
	hidden, pooled, err := e.Encode(context.Background(), [][]int32{flat[:shape[1]], flat[shape[1]:]}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("two prompts, weights made on the way: %v", time.Since(started))
	compareFull(t, g, component+".hidden", hidden)
	if pooled != nil {
		compareFull(t, g, component+".pooled", pooled)
	}
}

func fullVAE(t *testing.T, g *golden.File, dev kernels.Device) {
	config, err := vae.ParseConfig(fullConfig(t, "base", "vae"), "vae")
	if err != nil {
		t.Fatal(err)
	}
	a, err := vae.Open(dev, weights.Synthetic("vae", nn.Shapes(vae.New(config)), kernels.F16), config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	image := seeded(t, g, "vae.image", 101, 1, 3, 512, 512)
	for i, v := range image.Data {
		image.Data[i] = min(max(v/2, -1), 1)
	}
	started := time.Now()
	moments, err := a.Encode(context.Background(), vae.Planes{Height: 512, Width: 512, Channels: 3, Data: image.channelsLast()})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("encode: %v", time.Since(started))
	compareFull(t, g, "vae.moments", channelsFirst([4]int{1, 8, 64, 64}, moments.Data).Data)
	z := seeded(t, g, "vae.latents", 102, 1, 4, 64, 64)
	started = time.Now()
	decoded, err := a.Decode(context.Background(), z.one(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("decode: %v", time.Since(started))
	compareFull(t, g, "vae.decoded", channelsFirst([4]int{1, 3, 512, 512}, decoded.Data).Data)
}

func fullUNet(t *testing.T, g *golden.File, dev kernels.Device, name, model string, seed uint64) {
	config, err := unet.ParseConfig(fullConfig(t, model, "unet"), "unet")
	if err != nil {
		t.Fatal(err)
	}
	m := unet.New(config)
	src := weights.Synthetic("unet", nn.Shapes(m), kernels.F16)
	started := time.Now()
	bound, err := nn.Bind(m, src)
	if err != nil {
		t.Fatal(err)
	}
	network, err := nn.NewNetwork(dev, bound, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	d := &denoiser{Network: network, config: config, model: m}
	ids, idShape := g.Floats(name + ".time_ids")
	s := shape{batch: 2, height: 64, width: 64, tokens: 77, text: config.Context(), pooled: 1280, ids: idShape[1]}
	p, err := d.prediction(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("weights made and compiled: %v", time.Since(started))
	text := seeded(t, g, name+".context", seed+1, 2, 77, config.Context(), 1)
	pooled := seeded(t, g, name+".text_embeds", seed+2, 2, 1280, 1, 1)
	if err := d.tell(p, conditioning{text: text.Data, pooled: pooled.Data, timeIDs: ids}); err != nil {
		t.Fatal(err)
	}
	x := seeded(t, g, name+".sample", seed, 2, 4, 64, 64)
	if err := p.SetFloats("x", x.channelsLast()...); err != nil {
		t.Fatal(err)
	}
	timestep, _ := g.Floats(name + ".timestep")
	if err := s.set(p, float64(timestep[0]), 1, 1, 0); err != nil {
		t.Fatal(err)
	}
	for _, run := range []string{"first run", "second run"} {
		started = time.Now()
		if err := p.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %v, %.2f TFLOP", run, time.Since(started), float64(p.Plan().FLOPs())/1e12)
	}
	out := make([]float32, 2*4*64*64)
	if err := p.Floats(context.Background(), "prediction", out); err != nil {
		t.Fatal(err)
	}
	compareFull(t, g, name+".output", channelsFirst([4]int{2, 4, 64, 64}, out).Data)
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		for line := range bytes.Lines(status) {
			if bytes.HasPrefix(line, []byte("VmHWM")) {
				t.Logf("%s", bytes.TrimSpace(line))
			}
		}
	}
	if err := src.Release(); err != nil {
		t.Fatal(err)
	}
	debug.FreeOSMemory()
}

// seeded draws an input as torch.randn does and checks its beginning.
func seeded(t *testing.T, g *golden.File, name string, seed uint64, shape ...int) *Latents {
	x := newLatents([4]int(shape))
	scheduler.NewGenerator(seed).Randn(x.Data)
	head, _ := g.Floats(name + ".head")
	for i, want := range head {
		if x.Data[i] != want {
			t.Fatalf("%s: value %d is %v, want %v", name, i, x.Data[i], want)
		}
	}
	return x
}

// compareFull compares the elements that were kept, and the norm of all.
func compareFull(t *testing.T, g *golden.File, name string, got []float32) {
	t.Helper()
	want, _ := g.Floats(name + ".strided")
	strides, _ := g.Ints(name + ".stride")
	kept := make([]float32, 0, len(want))
	for i := 0; i < len(got); i += int(strides[0]) {
		kept = append(kept, got[i])
	}
	golden.Near(t, name, kept, want, fullTolerance)
	summary := g.Doubles(name + ".summary")
	var square float64
	for _, v := range got {
		square += float64(v) * float64(v)
	}
	if norm := math.Sqrt(square); !(math.Abs(norm/summary[2]-1) <= fullTolerance) {
		t.Errorf("%s: norm %v, want %v", name, norm, summary[2])
	}
}
