package sdxl

import (
	"image"

	"github.com/goxl/goxl/internal/resample"
)

// Resize is how an image gets a size of another aspect ratio, by Lanczos always. Its mask goes with it and, where they
// are shaped as it is, what steers beside it: see Control.
type Resize string

// Ways to resize; A1111's names are "Just resize", "Crop and resize" and "Resize and fill".
const (
	ResizeStretch Resize = "stretch" // as it comes, as diffusers does; the default
	ResizeCrop    Resize = "crop"    // keeps the aspect ratio, and cuts off what is beyond the size
	ResizeFill    Resize = "fill"    // keeps the aspect ratio, and stretches the outermost lines over the rest
)

// Resizes lists them.
func Resizes() []Resize { return []Resize{ResizeStretch, ResizeCrop, ResizeFill} }

// resize gives an image a size; one that has it is returned as it is.
func (r Resize) resize(img *image.NRGBA, width, height int) *image.NRGBA {
	switch {
	case img.Rect.Size() == image.Pt(width, height):
		return img
	case r == ResizeCrop:
		return resample.Crop(img, width, height)
	case r == ResizeFill:
		return resample.Fill(img, width, height)
	}
	return resample.Lanczos(img, width, height)
}

// fittedSize is an image's size rounded down to multiples of factor, as diffusers' VaeImageProcessor does before
// encoding; a side below one is left as it is, and is refused.
func fittedSize(b image.Rectangle, factor int) Size {
	fitted := func(side int) int {
		if side < factor {
			return side
		}
		return side / factor * factor
	}
	return Size{fitted(b.Dy()), fitted(b.Dx())}
}

// startImage is the request's image in the size that is computed.
func (q *resolved) startImage() *image.NRGBA {
	return q.Resize.resize(opaque(q.request.Image), q.size.Width, q.size.Height)
}
