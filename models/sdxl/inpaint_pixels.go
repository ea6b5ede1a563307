package sdxl

import (
	"image"

	"github.com/goxl/goxl/internal/resample"
)

// canvas is the images of an inpainting run before they are encoded.
type canvas struct {
	source, mask *image.NRGBA    // of the result's size; source is nil without an image
	box          image.Rectangle // the part of them that is computed
	part         bool            // the box is computed at the result's size, and source and mask keep theirs
	image        *image.NRGBA    // what is computed from, of the computed size; nil without an image
	grey         []uint8         // its mask: 255 repaints
}

// newCanvas resizes, extends, blurs and crops as a request asks, in this order: the mask to the image's size, then
// inverted; the border, whose mask is white; the blur; the crop to the mask, or the whole; the computed size. The fill
// comes last.
func newCanvas(q *resolved) *canvas {
	r := &q.request
	size := image.Pt(q.size.Width, q.size.Height)
	c := &canvas{}
	if r.Image != nil {
		c.source = opaque(r.Image)
		size = c.source.Rect.Size()
	}
	c.mask = image.NewNRGBA(image.Rectangle{Max: size})
	if r.Mask != nil {
		c.mask = opaque(r.Mask)
		if c.mask.Rect.Size() != size {
			c.mask = resample.Lanczos(c.mask, size.X, size.Y)
		}
	}
	if r.MaskInvert {
		for i := range c.mask.Pix {
			if i%4 < 3 {
				c.mask.Pix[i] = 255 - c.mask.Pix[i]
			}
		}
	}
	if b := r.Outpaint; b != (Border{}) {
		c.source, c.mask = extend(c.source, b, nil), extend(c.mask, b, []uint8{255, 255, 255, 255})
	}
	if r.MaskBlur > 0 {
		c.mask = resample.GaussianBlur(c.mask, r.MaskBlur)
	}
	c.toComputedSize(q)
	if q.InpaintFill != FillOriginal && c.image != nil {
		c.image = fillHoles(c.image, c.grey)
	}
	return c
}

// toComputedSize gives what is computed its size.
func (c *canvas) toComputedSize(q *resolved) {
	w, h := q.size.Width, q.size.Height
	c.box = c.mask.Rect
	if q.MaskPadding != nil {
		box, ok := cropRegion(c.mask, w, h, *q.MaskPadding)
		if c.part = ok; ok {
			c.box = box
		} // else nothing is repainted, and the result is the source
		c.image, c.grey = resample.Fill(cut(c.source, c.box), w, h), luminance(resample.Fill(cut(c.mask, c.box), w, h))
		return
	}
	c.mask = q.Resize.resize(c.mask, w, h)
	if c.source != nil {
		c.source = q.Resize.resize(c.source, w, h)
		c.image = c.source
	}
	c.box, c.grey = c.mask.Rect, luminance(c.mask)
}

// empty reports whether nothing is to be repainted.
func (c *canvas) empty() bool {
	for _, v := range c.grey {
		if v != 0 {
			return false
		}
	}
	return true
}

// compose puts a computed image where it belongs. Where the mask is black, and keep is set, the pixels are the
// source's; soft masks keep those alone, others mix as the mask is grey.
func (c *canvas) compose(img *image.NRGBA, keep, soft bool) *image.NRGBA {
	if c.source == nil {
		return img
	}
	if c.part {
		part := resample.Crop(img, c.box.Dx(), c.box.Dy())
		img = opaque(c.source)
		for y := range c.box.Dy() {
			copy(img.Pix[img.PixOffset(c.box.Min.X, c.box.Min.Y+y):], part.Pix[y*part.Stride:][:4*c.box.Dx()])
		}
	}
	if !keep {
		return img
	}
	grey := luminance(c.mask)
	if soft {
		for i, v := range grey {
			if v > 0 {
				grey[i] = 255
			}
		}
	}
	return overlay(img, c.source, grey)
}

// opaque is a copy of an image without its alpha, the origin at 0, 0.
func opaque(img image.Image) *image.NRGBA {
	from := toNRGBA(img)
	out := image.NewNRGBA(image.Rectangle{Max: from.Rect.Size()})
	for y := range out.Rect.Dy() {
		copy(out.Pix[y*out.Stride:][:4*out.Rect.Dx()], from.Pix[y*from.Stride:])
	}
	for i := 3; i < len(out.Pix); i += 4 {
		out.Pix[i] = 255
	}
	return out
}

// cut copies a part of an image.
func cut(img *image.NRGBA, box image.Rectangle) *image.NRGBA {
	out := image.NewNRGBA(image.Rectangle{Max: box.Size()})
	for y := range box.Dy() {
		copy(out.Pix[y*out.Stride:][:4*box.Dx()], img.Pix[img.PixOffset(box.Min.X, box.Min.Y+y):])
	}
	return out
}

// extend adds a border of a colour or, where that is nil, of the outermost pixels.
func extend(img *image.NRGBA, b Border, colour []uint8) *image.NRGBA {
	size := img.Rect.Size()
	out := image.NewNRGBA(b.around(img.Rect))
	for y := range out.Rect.Dy() {
		for x := range out.Rect.Dx() {
			from := image.Pt(min(max(x-b.Left, 0), size.X-1), min(max(y-b.Top, 0), size.Y-1))
			pixel := img.Pix[img.PixOffset(from.X, from.Y):][:4]
			if colour != nil && from != image.Pt(x-b.Left, y-b.Top) {
				pixel = colour
			}
			copy(out.Pix[out.PixOffset(x, y):], pixel)
		}
	}
	return out
}

// luminance is Pillow's mode L of each pixel.
func luminance(img *image.NRGBA) []uint8 {
	grey := make([]uint8, 0, len(img.Pix)/4)
	for i := 0; i < len(img.Pix); i += 4 {
		p := img.Pix[i:]
		grey = append(grey, uint8((19595*uint32(p[0])+38470*uint32(p[1])+7471*uint32(p[2])+0x8000)>>16))
	}
	return grey
}

// cropRegion is the part of an image that is computed where only what is masked is: the smallest rectangle around the
// mask's pixels that are not black and so many more, made as wide or high as the computed size's aspect ratio asks and
// kept within the image. Not ok is a black mask. Source: diffusers image_processor.py, get_crop_region.
func cropRegion(mask *image.NRGBA, width, height, padding int) (box image.Rectangle, ok bool) {
	size := mask.Rect.Size()
	for i, v := range luminance(mask) {
		if v != 0 {
			at := image.Pt(i%size.X, i/size.X)
			box = box.Union(image.Rectangle{at, at.Add(image.Pt(1, 1))})
		}
	}
	if box.Empty() {
		return box, false
	}
	box = box.Inset(-padding).Intersect(mask.Rect)
	ratio := float64(width) / float64(height)
	if float64(box.Dx())/float64(box.Dy()) > ratio {
		box.Min.Y, box.Max.Y = widen(box.Min.Y, box.Max.Y, float64(box.Dx())/ratio, size.Y)
	} else {
		box.Min.X, box.Max.X = widen(box.Min.X, box.Max.X, float64(box.Dy())*ratio, size.X)
	}
	return box, true
}

// widen makes a side as long as wanted, to both ends, and moves it back within 0 to limit.
func widen(low, high int, wanted float64, limit int) (int, int) {
	more := int(wanted - float64(high-low))
	low -= more / 2
	high += more - more/2
	if high >= limit {
		low, high = low-(high-limit), limit
	}
	if low < 0 {
		low, high = 0, high-low
	}
	return low, min(high, limit)
}
