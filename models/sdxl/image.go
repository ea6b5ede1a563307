package sdxl

import (
	"context"
	"image"
	"image/draw"
	"math"
	"runtime"
	"sync"

	"github.com/goxl/goxl/models/vae"
)

// planes turns a picture into the autoencoder's input, −1…1. Transparency is dropped, as PIL's convert("RGB") does.
func planes(img image.Image) vae.Planes {
	n := toNRGBA(img)
	b := n.Bounds()
	p := vae.NewPlanes(b.Dy(), b.Dx(), 3)
	for y := range p.Height {
		row := n.Pix[y*n.Stride:]
		for x := range p.Width {
			for k := range 3 {
				v := float32(row[4*x+k]) / 255
				p.Data[(y*p.Width+x)*3+k] = 2*v - 1
			}
		}
	}
	return p
}

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
	out, err := p.vae.Decode(ctx, z)
	if err != nil {
		return nil, err
	}
	if watermarked {
		applyWatermark(out)
	}
	return toImage(out), nil
}

// toImage rounds values in −1…1 to bytes, half to even, as diffusers' VaeImageProcessor does.
func toImage(p vae.Planes) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, p.Width, p.Height))
	pixels := p.Height * p.Width
	parts := min(runtime.GOMAXPROCS(0), 1+pixels>>16) // one takes some 10 ms for a picture of 1024×1024
	var wg sync.WaitGroup
	for part := range parts {
		wg.Go(func() {
			for i := pixels * part / parts; i < pixels*(part+1)/parts; i++ {
				for k := range 3 {
					v := min(max(float32(p.Data[3*i+k]*0.5)+0.5, 0), 1)
					img.Pix[4*i+k] = uint8(math.RoundToEven(float64(float32(v * 255))))
				}
				img.Pix[4*i+3] = 255
			}
		})
	}
	wg.Wait()
	return img
}
