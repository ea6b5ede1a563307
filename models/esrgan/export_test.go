package esrgan

import (
	"context"
	"image"

	"github.com/goxl/goxl/kernels"
)

// Values are the network's for a whole image, a colour after the other for each pixel, before they are rounded.
func (u *Upscaler) Values(ctx context.Context, img image.Image) (values []float32, width, height int, err error) {
	in, scale := newPixels(img), u.Config.Scale()
	across, down := cut(in.width, 1<<20, 0, u.Config.unit()), cut(in.height, 1<<20, 0, u.Config.unit())
	tile := make([]float32, 3*across.size*down.size*scale*scale)
	if err := u.enlarge(ctx, in, image.Rect(0, 0, across.size, down.size), tile); err != nil {
		return nil, 0, 0, err
	}
	b := newBand(across.size*scale, down.size*scale)
	b.add(tile, 0, across.weights(scale)[0], down.weights(scale)[0], u.Config.Shuffle)
	width, height = in.width*scale, in.height*scale
	for y := range height {
		values = append(values, b.values[3*y*b.width:][:3*width]...)
	}
	return values, width, height, nil
}

// Products are the operations of the convolutions in the program of a whole image.
func (u *Upscaler) Products(width, height int) (sum int64, err error) {
	unit := u.Config.unit()
	key, build := u.stage(height/unit, width/unit)
	p, err := u.Network.Program(key, build)
	if err != nil {
		return 0, err
	}
	plan := p.Plan()
	for _, n := range plan.Nodes {
		if _, ok := n.Spec.(kernels.Conv2d); ok {
			sum += n.Spec.FLOPs(plan.Inputs(n))
		}
	}
	return sum, nil
}
