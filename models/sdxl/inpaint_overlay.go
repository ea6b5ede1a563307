package sdxl

import (
	"image"

	"github.com/goxl/goxl/internal/resample"
)

// The functions of this file are Pillow's arithmetic in bytes: of modes RGBA, whose colours are straight, and RGBa, whose
// colours are multiplied by alpha.

// overlay lays the source over an image where the mask is not white: where it is black the pixels are the source's own.
// Both are opaque and of one size, which the mask has too. Source: diffusers image_processor.py, apply_overlay.
func overlay(img, source *image.NRGBA, mask []uint8) *image.NRGBA {
	out := opaque(img)
	for i, m := range mask {
		composite(out.Pix[4*i:][:4], straight(faded(source.Pix[4*i:][:4], 255-m)))
	}
	return out
}

// fillHoles fills what the mask covers with its surroundings, blurred; mask has a value for each pixel. Source: A1111
// modules/masking.py, fill.
func fillHoles(img *image.NRGBA, mask []uint8) *image.NRGBA {
	masked := image.NewNRGBA(img.Rect)
	for i, m := range mask {
		p := faded(img.Pix[4*i:][:4], 255-m)
		copy(masked.Pix[4*i:], p[:])
	}
	out := image.NewNRGBA(img.Rect)
	for _, pass := range []struct {
		radius float64
		times  int
	}{{256, 1}, {64, 1}, {16, 2}, {4, 4}, {2, 2}, {0, 1}} {
		blurred := resample.GaussianBlur(masked, pass.radius)
		for i := 0; i < len(out.Pix); i += 4 {
			p := straight([4]uint8(blurred.Pix[i:]))
			for range pass.times {
				composite(out.Pix[i:][:4], p)
			}
		}
	}
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 255
	}
	return out
}

// div255 is v / 255 as Pillow has it, without rounding.
func div255(v uint32) uint32 { return (v>>8 + v) >> 8 }

// faded is an opaque colour times alpha.
func faded(p []uint8, alpha uint8) (out [4]uint8) {
	for c := range 3 {
		out[c] = uint8(div255(uint32(p[c])*uint32(alpha) + 128))
	}
	out[3] = alpha
	return out
}

// straight undoes the product with alpha.
func straight(p [4]uint8) [4]uint8 {
	if alpha := uint32(p[3]); alpha != 0 && alpha != 255 {
		for c := range 3 {
			p[c] = uint8(min(255*uint32(p[c])/alpha, 255))
		}
	}
	return p
}

// composite lays a straight colour over another one.
func composite(under []uint8, over [4]uint8) {
	const bits = 7
	if over[3] == 0 {
		return
	}
	alpha := uint32(over[3])
	both := alpha*255 + uint32(under[3])*(255-alpha)
	a := alpha * 255 * 255 << bits / both
	b := uint32(255<<bits) - a
	for c := range 3 {
		under[c] = uint8(div255(uint32(over[c])*a+uint32(under[c])*b+0x80<<bits) >> bits)
	}
	under[3] = uint8(div255(both + 0x80))
}
