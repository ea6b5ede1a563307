package vae

import (
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/scheduler"
)

// TestCompare: every module of decoder and encoder is what gorgonia's machine gives, with the residual stream as it is
// and rescaled.
func TestCompare(t *testing.T) {
	c, src := synthetic(t, "../sdxl/synthetic/tiny")
	dev := processor(t)
	f := c.ScaleFactor()
	const height, width = 4, 5 // of the latents
	latents, pixels := make([]float32, height*width*c.LatentChannels), make([]uint8, f*height*f*width*4)
	scheduler.NewGenerator(3).Randn(latents)
	for i := range pixels {
		pixels[i] = uint8(i * i)
	}
	for _, shift := range []int{0, streamShift} {
		a := opened(t, dev, src, c, kernels.Options{}, shift)
		for decoder, inputs := range map[bool]map[string]any{true: {"latents": latents}, false: {"image": pixels}} {
			found, err := a.Compare(t.Context(), a.Graph(decoder, f*height, f*width), inputs, true)
			if err != nil {
				t.Fatal(err)
			}
			if found.First != nil || found.Modules < 40 {
				t.Errorf("shift %d, decoder %v: of %d modules, %v", shift, decoder, found.Modules, found.First)
			}
			t.Logf("shift %d, decoder %v: the worst of %d is %v", shift, decoder, found.Modules, found.Worst)
		}
		closed(t, a)
	}
}
