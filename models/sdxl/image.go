package sdxl

import (
	"context"
	"image"
	"image/draw"
)

// toNRGBA returns the picture with its origin at 0, 0.
func toNRGBA(img image.Image) *image.NRGBA {
	if n, ok := img.(*image.NRGBA); ok && n.Bounds().Min == (image.Point{}) {
		return n
	}
	b := img.Bounds()
	n := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	draw.Draw(n, n.Bounds(), img, b.Min, draw.Src)
	return n
}

// decode draws picture i of the latents.
func (p *Pipeline) decode(ctx context.Context, x *Latents, i int, watermarked bool) (*image.NRGBA, error) {
	z := x.one(i)
	p.vae.Unscale(z)
	f := p.vae.Config.ScaleFactor()
	if err := p.tile(true, Size{f * z.Height, f * z.Width}); err != nil {
		return nil, err
	}
	if !watermarked {
		return p.vae.DecodeImage(ctx, z)
	}
	values, err := p.vae.Decode(ctx, z)
	if err != nil {
		return nil, err
	}
	applyWatermark(values)
	return p.vae.Pixels(ctx, values)
}
