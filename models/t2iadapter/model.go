// Package t2iadapter is T2I-Adapter for SDXL: a small network that is run once and whose features the UNet adds to its
// way down.
//
// Source: diffusers 0.42 models/adapter.py, T2IAdapter with FullAdapterXL.
package t2iadapter

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors of an adapter under their checkpoint names.
type Model struct {
	Adapter struct {
		ConvIn *nn.Conv2d `weight:"conv_in"`
		Body   []*Block   `weight:"body"`
	} `weight:"adapter"`
}

// New declares the model of a configuration.
func New(c Config) *Model {
	m := &Model{}
	m.Adapter.ConvIn = nn.NewConv2d(c.Channels*c.Downscale*c.Downscale, c.Widths[0], 3)
	in := c.Widths[0]
	for _, out := range c.Widths {
		m.Adapter.Body = append(m.Adapter.Body, NewBlock(in, out, c.ResBlocks))
		in = out
	}
	return m
}

// levels are what the levels from one up to another give of x.
func (m *Model) levels(b *nn.Builder, x *nn.Value, from, to int) (all []*nn.Value) {
	if from == 0 {
		x = m.Adapter.ConvIn.Forward(b, x)
	}
	for _, block := range m.Adapter.Body[from:to] {
		x = block.Forward(b, x)
		all = append(all, x)
	}
	return all
}

// Graph builds an adapter of a configuration for an image of a size, whose sides are multiples of Downscale: what a plan
// counts operations of. The levels behind the one that halves the image have an input of their own.
func Graph(c Config, height, width int) func(*nn.Builder) {
	m, f := nn.Name(New(c)), c.Downscale
	return func(b *nn.Builder) {
		h, w := height/f, width/f
		first := m.levels(b, b.Input("x", kernels.Step, kernels.F32, 1, h, w, c.Channels*f*f), 0, pooledLevel)
		rest := m.levels(b, b.Input("halved", kernels.Step, kernels.F32, 1, (h+1)/2, (w+1)/2, c.Widths[pooledLevel-1]), pooledLevel, len(c.Widths))
		for i, v := range append(first, rest...) {
			b.Output(fmt.Sprintf("features %d", i), v)
		}
	}
}

// Block is residual blocks behind a change of width. Source: AdapterBlock.
type Block struct {
	InConv  *nn.Conv2d  `weight:"in_conv"` // nil where in and out are alike
	Resnets []*ResBlock `weight:"resnets"`
}

// NewBlock declares a block of so many residual blocks.
func NewBlock(in, out, count int) *Block {
	b := &Block{}
	if in != out {
		b.InConv = nn.NewConv2d(in, out, 1)
	}
	for range count {
		b.Resnets = append(b.Resnets, &ResBlock{Block1: nn.NewConv2d(out, out, 3), Block2: nn.NewConv2d(out, out, 1)})
	}
	return b
}

// Forward maps x [1, H, W, in] to [1, H, W, out].
func (l *Block) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	if l.InConv != nil {
		x = l.InConv.Forward(b, x)
	}
	for _, r := range l.Resnets {
		x = r.Forward(b, x)
	}
	return b.Tap(l, x)
}

// ResBlock is two convolutions. Source: AdapterResnetBlock.
type ResBlock struct {
	Block1 *nn.Conv2d `weight:"block1"`
	Block2 *nn.Conv2d `weight:"block2"`
}

// Forward keeps the shape of x.
func (r *ResBlock) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	h := r.Block1.Fused(b, nn.Source{X: x}, nn.Epilogue{Act: kernels.ReLU})
	return b.Tap(r, r.Block2.Fused(b, nn.Source{X: h}, nn.Epilogue{Residual: x}))
}
