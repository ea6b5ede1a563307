package resample

import (
	"image"
	"image/color"
	"image/draw"
)

// Crop resizes by Lanczos so that the image covers width × height pixels, keeping its aspect ratio, and cuts off what is
// beyond them, as A1111's "Crop and resize" and diffusers' resize mode "crop".
func Crop(img *image.NRGBA, width, height int) *image.NRGBA {
	return centred(img, width, height, func(ratio, own float64) bool { return ratio > own }).out
}

// Fill resizes by Lanczos so that the image lies within width × height pixels, keeping its aspect ratio, and stretches
// its outermost lines over the rest, as A1111's "Resize and fill" and diffusers' resize mode "fill".
func Fill(img *image.NRGBA, width, height int) *image.NRGBA {
	c := centred(img, width, height, func(ratio, own float64) bool { return ratio < own })
	w, h := c.resized.Rect.Dx(), c.resized.Rect.Dy()
	paste := func(x, y, width, height int, box Box) {
		draw.Draw(c.out, image.Rect(x, y, x+width, y+height), Bicubic(c.resized, width, height, box), image.Point{}, draw.Src)
	}
	switch rows, columns := height/2-h/2, width/2-w/2; {
	case c.ratio < c.own && rows > 0:
		paste(0, 0, width, rows, Box{0, 0, float64(width), 0})
		paste(0, rows+h, width, rows, Box{0, float64(h), float64(width), float64(h)})
	case c.ratio > c.own && columns > 0:
		paste(0, 0, columns, height, Box{0, 0, 0, float64(height)})
		paste(columns+w, 0, columns, height, Box{float64(w), 0, float64(w), float64(height)})
	}
	return c.out
}

// placed is a resized image in the middle of another one.
type placed struct {
	resized, out *image.NRGBA
	ratio, own   float64 // width to height, of out and of the image
}

// centred resizes an opaque image to the width, or else to the height, and puts it in the middle of black.
func centred(img *image.NRGBA, width, height int, byWidth func(ratio, own float64) bool) placed {
	b := img.Bounds()
	p := placed{ratio: float64(width) / float64(height), own: float64(b.Dx()) / float64(b.Dy())}
	w, h := b.Dx()*height/b.Dy(), height
	if byWidth(p.ratio, p.own) {
		w, h = width, b.Dy()*width/b.Dx()
	}
	w, h = max(w, 1), max(h, 1)
	p.resized = Lanczos(img, w, h)
	p.out = image.NewNRGBA(image.Rect(0, 0, width, height))
	draw.Draw(p.out, p.out.Rect, image.NewUniform(color.Black), image.Point{}, draw.Src)
	at := image.Pt(width/2-w/2, height/2-h/2)
	draw.Draw(p.out, p.resized.Rect.Add(at), p.resized, image.Point{}, draw.Src)
	return p
}
