package sdxl

import (
	"context"
	"image"
	"image/color"
	"image/draw"

	"github.com/goxl/goxl/nn"
)

// toNRGBA returns the image with its origin at 0, 0. A transparent pixel keeps its colour, as in Pillow's
// convert("RGB"), where its type still has it.
func toNRGBA(img image.Image) *image.NRGBA {
	if n, ok := img.(*image.NRGBA); ok && n.Bounds().Min == (image.Point{}) {
		return n
	}
	b := img.Bounds()
	n := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	if o, ok := img.(interface{ Opaque() bool }); ok && o.Opaque() {
		draw.Draw(n, n.Bounds(), img, b.Min, draw.Src)
		return n
	}
	for y := range b.Dy() {
		for x := range b.Dx() {
			n.SetNRGBA(x, y, unmultiplied(img.At(b.Min.X+x, b.Min.Y+y)))
		}
	}
	return n
}

// unmultiplied is a colour in 8 bits. Conversion by package color goes by way of the product with alpha, which forgets
// what is transparent.
func unmultiplied(c color.Color) color.NRGBA {
	switch c := c.(type) {
	case color.NRGBA:
		return c
	case color.NRGBA64:
		return color.NRGBA{uint8(c.R >> 8), uint8(c.G >> 8), uint8(c.B >> 8), uint8(c.A >> 8)}
	case color.NYCbCrA:
		r, g, b := color.YCbCrToRGB(c.Y, c.Cb, c.Cr)
		return color.NRGBA{r, g, b, c.A}
	}
	return color.NRGBAModel.Convert(c).(color.NRGBA)
}

// decode gives image i of the latents. It calls computed once the device has done its part. taps are the decoder's.
func (m *Model) decode(ctx context.Context, x *Tensor, i int, watermarked bool, computed func(), taps []nn.Tap) (*image.NRGBA, error) {
	z, d := one(x, i), m.decoder()
	d.Unscale(z)
	f := m.VAE.Config.ScaleFactor()
	if err := m.tile(true, watermarked, Size{f * z.Height, f * z.Width}); err != nil {
		return nil, err
	}
	if !watermarked {
		img, err := d.DecodeImage(ctx, z, taps...)
		if err == nil {
			computed()
		}
		return img, err
	}
	values, err := d.Decode(ctx, z, taps...)
	if err != nil {
		return nil, err
	}
	computed()
	applyWatermark(values)
	return values.Pixels(), nil
}
