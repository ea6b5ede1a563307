package t2iadapter

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Adapter is a T2I-Adapter on a device. It is used by one goroutine at a time.
type Adapter struct {
	*nn.Network
	Config    Config
	Unclaimed []string // tensors of the checkpoint that the model does not have
	model     *Model
}

// Open binds a checkpoint, which the configuration fits, and puts it on the device.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Adapter, error) {
	a := &Adapter{Config: c, model: New(c)}
	bound, err := nn.Bind(a.model, src)
	if err != nil {
		return nil, err
	}
	a.Unclaimed = bound.Unclaimed
	a.Network, err = nn.NewNetwork(dev, bound, o)
	return a, err
}

// pooledLevel is the one before which the image is halved: by the mean of two by two, of what there is at an odd edge.
const pooledLevel = 2

// Features computes the features of an image of values in 0…1, [H, W, Channels], whose sides are multiples of
// Config.Downscale: one tensor [1, H, W, C] a level.
func (a *Adapter) Features(ctx context.Context, values []float32, height, width int) ([]*nn.Tensor, error) {
	f := a.Config.Downscale
	if height < f || width < f || height%f != 0 || width%f != 0 || len(values) != height*width*a.Config.Channels {
		return nil, fmt.Errorf("t2iadapter: %d values of %d×%d pixels: must be %d channels of sides that are multiples of %d", len(values), width, height, a.Config.Channels, f)
	}
	x := &nn.Tensor{Shape: []int{1, height / f, width / f, a.Config.Channels * f * f}, Data: unshuffled(values, height, width, a.Config.Channels, f)}
	first, err := a.stage(ctx, x, 0, pooledLevel)
	if err != nil {
		return nil, err
	}
	rest, err := a.stage(ctx, halved(first[pooledLevel-1]), pooledLevel, len(a.Config.Widths))
	return append(first, rest...), err
}

// stage computes the levels from one up to another, each one's features.
func (a *Adapter) stage(ctx context.Context, x *nn.Tensor, from, to int) ([]*nn.Tensor, error) {
	var out []*nn.Tensor
	for _, width := range a.Config.Widths[from:to] {
		out = append(out, nn.NewTensor(1, x.Shape[1], x.Shape[2], width))
	}
	name := func(i int) string { return fmt.Sprintf("features %d", i) }
	err := a.Evaluate(ctx, fmt.Sprintf("t2iadapter levels %d to %d of %v", from, to, x.Shape), func(b *nn.Builder) {
		for i, v := range a.model.levels(b, b.Input("x", kernels.Step, kernels.F32, x.Shape...), from, to) {
			b.Output(name(i), v)
		}
	}, func(p *nn.Program) error { return p.SetFloats("x", x.Data...) }, func(p *nn.Program) ([]float32, error) {
		var all []float32
		for i := range out {
			if err := p.Floats(ctx, name(i), out[i].Data); err != nil {
				return nil, err
			}
			all = append(all, out[i].Data...)
		}
		return all, nil
	})
	return out, err
}

// unshuffled makes each f×f pixels of an image [H, W, C] the channels of one: torch's PixelUnshuffle, [H/f, W/f,
// C·f·f].
func unshuffled(values []float32, height, width, channels, f int) []float32 {
	out := make([]float32, len(values))
	for y := range height {
		for x := range width {
			for c := range channels {
				at := (y/f*(width/f)+x/f)*channels*f*f + c*f*f + y%f*f + x%f
				out[at] = values[(y*width+x)*channels+c]
			}
		}
	}
	return out
}

// halved is AvgPool2d(2, 2, ceil_mode=True) of x [1, H, W, C].
func halved(x *nn.Tensor) *nn.Tensor {
	h, w, channels := x.Shape[1], x.Shape[2], x.Shape[3]
	out := nn.NewTensor(1, (h+1)/2, (w+1)/2, channels)
	for y := range out.Shape[1] {
		for col := range out.Shape[2] {
			to := out.Data[(y*out.Shape[2]+col)*channels:][:channels]
			count := float32(0)
			for sy := 2 * y; sy < min(2*y+2, h); sy++ {
				for sx := 2 * col; sx < min(2*col+2, w); sx++ {
					for c, v := range x.Data[(sy*w+sx)*channels:][:channels] {
						to[c] += v
					}
					count++
				}
			}
			for c := range to {
				to[c] /= count
			}
		}
	}
	return out
}
