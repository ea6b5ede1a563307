package sdxl

import (
	"image"

	"github.com/goxl/goxl/internal/resample"
)

// fittedSize is an image's size rounded down to multiples of factor; a side below one is left as it is, and is refused.
func fittedSize(b image.Rectangle, factor int) Size {
	fitted := func(side int) int {
		if side < factor {
			return side
		}
		return side / factor * factor
	}
	return Size{fitted(b.Dy()), fitted(b.Dx())}
}

// fitToFactor resizes an image down to multiples of factor, as diffusers' VaeImageProcessor does before encoding; one
// that fits is returned as it is.
func fitToFactor(img image.Image, factor int) image.Image {
	b, s := img.Bounds(), fittedSize(img.Bounds(), factor)
	if s == (Size{b.Dy(), b.Dx()}) {
		return img
	}
	return resample.Lanczos(toNRGBA(img), s.Width, s.Height)
}
