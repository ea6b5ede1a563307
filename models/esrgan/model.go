// Package esrgan enlarges images: ESRGAN's RRDBNet, with or without Real-ESRGAN's pixel unshuffle, and its compact
// SRVGGNetCompact. Sizes are read from the shapes of the tensors.
//
// Source: BasicSR archs/rrdbnet_arch.py and Real-ESRGAN archs/srvgg_arch.py; the names of older files are those of
// github.com/xinntao/ESRGAN and of its predecessor in github.com/victorca25/traiNNer, as spandrel reads them.
package esrgan

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// network is either of the two.
type network interface {
	// forward maps [1, h, w, inputs] to [1, H, W, outputs]: see Config.
	forward(b *nn.Builder, x *nn.Value) *nn.Value
}

// newNetwork declares the tensors of a configuration.
func newNetwork(c Config) network {
	if c.Kind == SRVGG {
		return newCompact(c)
	}
	return newRRDBNet(c)
}

// rrdbNet is RRDBNet under BasicSR's names.
type rrdbNet struct {
	First *nn.Conv2d `weight:"conv_first"`
	Body  []*rrdb    `weight:"body"`
	Trunk *nn.Conv2d `weight:"conv_body"`
	Up1   *nn.Conv2d `weight:"conv_up1"` // each behind a doubling of the image; nil where there are fewer
	Up2   *nn.Conv2d `weight:"conv_up2"`
	Up3   *nn.Conv2d `weight:"conv_up3"`
	HR    *nn.Conv2d `weight:"conv_hr"`
	Last  *nn.Conv2d `weight:"conv_last"`
}

func newRRDBNet(c Config) *rrdbNet {
	f := c.Features
	n := &rrdbNet{
		First: nn.NewConv2d(c.inputs(), f, 3), Trunk: nn.NewConv2d(f, f, 3),
		HR: nn.NewConv2d(f, f, 3), Last: nn.NewConv2d(f, 3, 3),
	}
	for i, up := range []**nn.Conv2d{&n.Up1, &n.Up2, &n.Up3} {
		if i < c.Doublings {
			*up = nn.NewConv2d(f, f, 3)
		}
	}
	for range c.Blocks {
		n.Body = append(n.Body, newRRDB(f, c.Growth))
	}
	return n
}

var leaky = nn.Epilogue{Act: kernels.LeakyReLU}

func (n *rrdbNet) forward(b *nn.Builder, x *nn.Value) *nn.Value {
	first := n.First.Forward(b, x)
	x = first
	for _, block := range n.Body {
		x = block.forward(b, x)
	}
	x = n.Trunk.Fused(b, nn.Source{X: x}, nn.Epilogue{Residual: first})
	for _, up := range []*nn.Conv2d{n.Up1, n.Up2, n.Up3} {
		if up != nil {
			x = up.Fused(b, nn.Source{X: x, Height: 2 * x.Dim(1), Width: 2 * x.Dim(2)}, leaky)
		}
	}
	return n.Last.Forward(b, n.HR.Fused(b, nn.Source{X: x}, leaky))
}

// rrdb is a residual in residual dense block: three dense blocks, whose sum with the input is weighted by 0.2.
type rrdb struct {
	RDB1 *dense `weight:"rdb1"`
	RDB2 *dense `weight:"rdb2"`
	RDB3 *dense `weight:"rdb3"`
}

func newRRDB(features, growth int) *rrdb {
	return &rrdb{newDense(features, growth), newDense(features, growth), newDense(features, growth)}
}

// forward adds each residual in the epilogue of a dense block's last convolution, whose tensors have the weights of the
// residuals in them: see folded.
func (r *rrdb) forward(b *nn.Builder, x *nn.Value) *nn.Value {
	y := r.RDB1.forward(b, x, nil)
	y = r.RDB2.forward(b, y, nil)
	return b.Tap(r, r.RDB3.forward(b, y, x))
}

// dense is a dense block: each convolution reads the input and what all before it gave.
type dense struct {
	Conv1 *nn.Conv2d `weight:"conv1"`
	Conv2 *nn.Conv2d `weight:"conv2"`
	Conv3 *nn.Conv2d `weight:"conv3"`
	Conv4 *nn.Conv2d `weight:"conv4"`
	Conv5 *nn.Conv2d `weight:"conv5"`
}

func newDense(features, growth int) *dense {
	conv := func(k int) *nn.Conv2d { return nn.NewConv2d(features+k*growth, growth, 3) }
	return &dense{conv(0), conv(1), conv(2), conv(3), nn.NewConv2d(features+4*growth, features, 3)}
}

// forward adds residual to the result, or x where that is nil.
func (d *dense) forward(b *nn.Builder, x, residual *nn.Value) *nn.Value {
	if residual == nil {
		residual = x
	}
	all, last := x, d.Conv1.Fused(b, nn.Source{X: x}, leaky)
	for i, conv := range []*nn.Conv2d{d.Conv2, d.Conv3, d.Conv4} {
		if i > 0 {
			all = b.Concat(all, last)
			last = conv.Fused(b, nn.Source{X: all}, leaky)
			continue
		}
		next := conv.Fused(b, nn.Source{X: all, Skip: last}, leaky)
		all, last = b.Concat(all, last), next
	}
	return d.Conv5.Fused(b, nn.Source{X: all, Skip: last}, nn.Epilogue{Residual: residual})
}

// compact is SRVGGNetCompact: convolutions, each but the last behind a PReLU, and the image's pixels added.
type compact struct {
	Body  []any `weight:"body"` // *nn.Conv2d and *prelu in turn
	scale int
}

type prelu struct {
	Slope *nn.Param `weight:"weight"`
}

func newCompact(c Config) *compact {
	n := &compact{scale: c.Scale()}
	in := 3
	for range c.Blocks + 1 {
		n.Body = append(n.Body, nn.NewConv2d(in, c.Features, 3), &prelu{nn.NewParam(c.Features)})
		in = c.Features
	}
	n.Body = append(n.Body, nn.NewConv2d(c.Features, 3*n.scale*n.scale, 3))
	return n
}

func (n *compact) forward(b *nn.Builder, x *nn.Value) *nn.Value {
	base := repeated(b, x, n.scale*n.scale)
	for _, layer := range n.Body[:len(n.Body)-1] {
		switch layer := layer.(type) {
		case *nn.Conv2d:
			x = layer.Forward(b, x)
		case *prelu:
			x = b.PReLU(x, layer.Slope)
		}
	}
	return n.Body[len(n.Body)-1].(*nn.Conv2d).Fused(b, nn.Source{X: x}, nn.Epilogue{Residual: base})
}

// repeated is x so many times along the channels.
func repeated(b *nn.Builder, x *nn.Value, times int) *nn.Value {
	if times == 1 {
		return x
	}
	half := repeated(b, x, times/2)
	y := b.Concat(half, half)
	if times%2 == 1 {
		y = b.Concat(y, x)
	}
	return y
}
