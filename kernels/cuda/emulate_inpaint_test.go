//go:build emulate

package cuda

import (
	"image"
	"image/color"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// TestEmulatedInpainting: inpainting on a card is no further from that in float32 on a CPU than twice as far as
// image-to-image is, and the latents that are held are as near: they are put back in float32.
func TestEmulatedInpainting(t *testing.T) {
	card, exact := cardAndCPU(t)
	source, mask := image.NewNRGBA(image.Rect(0, 0, 64, 64)), image.NewGray(image.Rect(0, 0, 64, 64))
	for y := range 64 {
		for x := range 64 {
			source.SetNRGBA(x, y, color.NRGBA{uint8(4 * x), uint8(4 * y), uint8(x * y), 255})
			mask.SetGray(x, y, color.Gray{uint8(8 * min(max(x-24, 0), 31))})
		}
	}
	request := sdxl.Request{Width: 64, Height: 64, Image: source, Strength: 0.9}
	plain := tinyLatents(t, exact, request)
	without := distanceOf(t, tinyLatents(t, card, request), plain)
	for _, soft := range []bool{false, true} {
		r := request
		r.Mask, r.SoftMask = mask, soft
		want := tinyLatents(t, exact, r)
		far, moved := distanceOf(t, tinyLatents(t, card, r), want), distanceOf(t, want, plain)
		t.Logf("soft %v: %.2g from float32, without a mask %.2g, moved by %.2g", soft, far, without, moved)
		if !(far <= 2*without) || moved < 20*without {
			t.Errorf("soft %v: %v from float32, want at most %v; moved by %v", soft, far, 2*without, moved)
		}
	}
	for _, d := range []kernels.Device{card, exact} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}
