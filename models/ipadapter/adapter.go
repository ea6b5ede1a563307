package ipadapter

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Adapter is an IP-Adapter on a device. It is used by one goroutine at a time.
type Adapter struct {
	*nn.Network
	Config    Config
	Unclaimed []string // tensors of the file that the model does not have
	model     *Model
	latents   []float32 // of plus
}

// Open binds an adapter's file, whose configuration Detect gives, and puts it on the device.
func Open(dev kernels.Device, src kernels.Source, c Config, o kernels.Options) (*Adapter, error) {
	m, named := New(c), newSource(src, c)
	bound, err := nn.Bind(m, named)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Config: c, Unclaimed: bound.Unclaimed, model: m}
	if c.Plus {
		if a.latents, err = floats(named, projectionPrefix+"latents"); err != nil {
			return nil, err
		}
	}
	if a.Network, err = nn.NewNetwork(dev, bound, o); err != nil {
		return nil, err
	}
	return a, nil
}

// floats reads a tensor.
func floats(src kernels.Source, name string) ([]float32, error) {
	dtype, shape, data, err := src.Tensor(name)
	if err != nil {
		return nil, err
	}
	stored, out := kernels.Factor{DType: dtype, Data: data}, make([]float32, kernels.Elements(shape))
	for i := range out {
		out[i] = stored.At(i)
	}
	return out, nil
}

// KV is the keys and values of images' tokens for one cross-attention, [tokens, channels] each.
type KV struct{ K, V []float32 }

// Project gives keys and values for each of the UNet's cross-attentions, in the file's order, of all images one after
// the other: of each what its encoder gives, an embedding [Width] or, of plus, hidden states [S, Width].
func (a *Adapter) Project(ctx context.Context, images [][]float32) ([]KV, error) {
	c := a.Config
	out := make([]KV, len(c.Layers))
	for i, x := range images {
		if len(x) == 0 || len(x)%c.Width != 0 || !c.Plus && len(x) != c.Width || len(x) != len(images[0]) {
			return nil, fmt.Errorf("%s: %d numbers of image %d: must be of width %d", c.Kind(), len(x), i, c.Width)
		}
		one, err := a.project(ctx, x)
		if err != nil {
			return nil, err
		}
		for l := range out {
			out[l].K, out[l].V = append(out[l].K, one[l].K...), append(out[l].V, one[l].V...)
		}
	}
	return out, nil
}

func (a *Adapter) project(ctx context.Context, x []float32) ([]KV, error) {
	c := a.Config
	out := make([]KV, len(c.Layers))
	for l, channels := range c.Layers {
		out[l] = KV{make([]float32, c.Tokens*channels), make([]float32, c.Tokens*channels)}
	}
	states := len(x) / c.Width
	err := a.Evaluate(ctx, fmt.Sprintf("image tokens of %d", states), a.Graph(states), func(p *nn.Program) error {
		if c.Plus {
			if err := p.SetFloats(latentsInput, a.latents...); err != nil {
				return err
			}
		}
		return p.SetFloats("x", x...)
	}, func(p *nn.Program) (all []float32, err error) {
		for l := range out {
			if err := p.Floats(ctx, keyName(l), out[l].K); err != nil {
				return nil, err
			}
			if err := p.Floats(ctx, valueName(l), out[l].V); err != nil {
				return nil, err
			}
			all = append(append(all, out[l].K...), out[l].V...)
		}
		return all, nil
	})
	return out, err
}

// Graph builds the program of one image, of so many hidden states, or 1 for an embedding.
func (a *Adapter) Graph(states int) func(*nn.Builder) {
	return func(b *nn.Builder) {
		tokens := a.model.Tokens(b, b.Input("x", kernels.Step, kernels.F32, 1, states, a.Config.Width))
		for i, l := range a.model.Layers {
			b.Output(keyName(i), l.ToK.Forward(b, tokens))
			b.Output(valueName(i), l.ToV.Forward(b, tokens))
		}
	}
}

func keyName(layer int) string { return fmt.Sprintf("k %d", layer) }

func valueName(layer int) string { return fmt.Sprintf("v %d", layer) }
