//go:build emulate

package cuda

import (
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/models/sdxl"
)

// TestEmulatedGuidance: with PAG and FreeU, a run on a card is no further from that in float32 on a CPU than twice as
// far as one without, and they change it far more.
func TestEmulatedGuidance(t *testing.T) {
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
	latents := func(d kernels.Device, change func(*sdxl.Request)) []float32 {
		t.Helper()
		r := sdxl.Request{Width: 64, Height: 72}
		change(&r)
		return tinyLatents(t, d, r)
	}
	layers := []string{"mid", "up_blocks.0"}
	plain := latents(exact, func(*sdxl.Request) {})
	without := distanceOf(t, latents(card, func(*sdxl.Request) {}), plain)
	for name, change := range map[string]func(*sdxl.Request){
		"PAG":          func(r *sdxl.Request) { r.PAGScale, r.PAGAppliedLayers = 3, layers },
		"PAG rescaled": func(r *sdxl.Request) { r.PAGScale, r.PAGAppliedLayers, r.GuidanceRescale = 3, layers, new(0.7) },
		"PAG alone":    func(r *sdxl.Request) { r.PAGScale, r.PAGAppliedLayers, r.Guidance = 3, layers, new(1.0) },
		"FreeU":        func(r *sdxl.Request) { r.FreeU = &sdxl.FreeU{S1: 0.9, S2: 0.2, B1: 1.3, B2: 1.4} },
		"both, on a part of the steps": func(r *sdxl.Request) {
			r.PAGScale, r.FreeU, r.GuidanceEnd, r.ImagesPerPrompt = 3, &sdxl.FreeU{S1: 0.9, S2: 0.2, B1: 1.3, B2: 1.4}, 0.5, 2
		},
	} {
		want := latents(exact, change)
		far := distanceOf(t, latents(card, change), want)
		moved := 1.0
		if len(want) == len(plain) {
			moved = distanceOf(t, want, plain)
		}
		t.Logf("%s: %.2g from float32, %.2g without; it moves the latents by %.2g", name, far, without, moved)
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
