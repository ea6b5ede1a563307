package nn

import "github.com/goxl/goxl/kernels"

// Epilogue is what a layer does to its result before it is written: act(y + BroadcastBias) + Residual, or, if ActLast,
// act(y + BroadcastBias + Residual).
type Epilogue struct {
	Act           kernels.Activation
	ActLast       bool   // convolutions with a residual only
	BroadcastBias *Value // [batch, channels], convolutions only
	Residual      *Value // of the result's shape
	Ends          any    // the module whose output the result is, before anything is added, for taps; or nil
}

// Linear is y = act(x·Wᵀ + b) + residual over the last axis.
type Linear struct {
	Weight *Param `weight:"weight"` // [out, in]
	Bias   *Param `weight:"bias"`   // [out]; nil without
}

// NewLinear declares a layer from in to out features.
func NewLinear(in, out int, bias bool) *Linear {
	l := &Linear{Weight: NewParam(out, in)}
	if bias {
		l.Bias = NewParam(out)
	}
	return l
}

// Forward maps [..., in] to [..., out].
func (l *Linear) Forward(b *Builder, x *Value) *Value { return l.Fused(b, x, Epilogue{}) }

// Fused is Forward with an epilogue.
func (l *Linear) Fused(b *Builder, x *Value, e Epilogue) *Value {
	return b.layer(l, e, func(e Epilogue) *Value { return l.state(b, x, e) })
}

func (l *Linear) state(b *Builder, x *Value, e Epilogue) *Value {
	s := kernels.Linear{Bias: l.Bias != nil, Act: e.Act, Residual: e.Residual != nil}
	o := operands{x: x, weight: b.weight(l.Weight), bias: b.optional(l.Bias), residual: e.Residual}
	if in := o.inputs(s.Operands()); b.fuses(s, in...) {
		return b.apply1(s, in...)
	}
	plain := kernels.Linear{Bias: s.Bias}
	return b.epilogue(b.apply1(plain, o.inputs(plain.Operands())...), e)
}

// Conv2d is a convolution of NHWC images with zero padding.
type Conv2d struct {
	Weight *Param `weight:"weight"` // [out, in, kernel, kernel]
	Bias   *Param `weight:"bias"`   // [out]; nil without
	Stride int
	Pad    kernels.Padding
}

// NewConv2d declares a layer with a square kernel, stride 1 and the padding that keeps the size.
func NewConv2d(in, out, kernel int) *Conv2d {
	p := kernel / 2
	return &Conv2d{Weight: NewParam(out, in, kernel, kernel), Bias: NewParam(out), Stride: 1, Pad: kernels.Padding{Top: p, Left: p, Bottom: p, Right: p}}
}

// Source is what a convolution reads: X, followed on the channel axis by Skip if there is one, resized to Height×Width
// by nearest neighbour if those are not 0.
type Source struct {
	X, Skip       *Value
	Height, Width int
}

// Forward maps [B, H, W, in] to [B, H', W', out].
func (l *Conv2d) Forward(b *Builder, x *Value) *Value { return l.Fused(b, Source{X: x}, Epilogue{}) }

// Fused is Forward with a two-fold or resized source and an epilogue.
func (l *Conv2d) Fused(b *Builder, x Source, e Epilogue) *Value {
	return b.layer(l, e, func(e Epilogue) *Value { return l.state(b, x, e) })
}

func (l *Conv2d) state(b *Builder, x Source, e Epilogue) *Value {
	s := kernels.Conv2d{
		Stride: l.Stride, Pad: l.Pad, UpH: x.Height, UpW: x.Width, Concat: x.Skip != nil,
		Bias: l.Bias != nil, BroadcastBias: e.BroadcastBias != nil, Act: e.Act, ActLast: e.ActLast, Residual: e.Residual != nil,
	}
	o := operands{x: x.X, x2: x.Skip, weight: b.weight(l.Weight), bias: b.optional(l.Bias), broadcastBias: e.BroadcastBias, residual: e.Residual}
	if in := o.inputs(s.Operands()); b.fuses(s, in...) {
		return b.apply1(s, in...)
	}
	if s.Concat {
		o.x = b.Concat(o.x, o.x2)
	}
	if s.UpH > 0 {
		o.x = b.apply1(kernels.Resize{H: s.UpH, W: s.UpW}, o.x)
	}
	plain := kernels.Conv2d{Stride: s.Stride, Pad: s.Pad, Bias: s.Bias}
	return b.epilogue(b.apply1(plain, o.inputs(plain.Operands())...), e)
}

// epilogue is the decomposed form of Epilogue.
func (b *Builder) epilogue(y *Value, e Epilogue) *Value {
	if e.BroadcastBias != nil {
		y = b.apply1(kernels.Add{Rows: true}, y, e.BroadcastBias)
	}
	if e.Act != kernels.Identity && !e.ActLast {
		y = b.Activate(y, e.Act)
	}
	if e.Residual != nil {
		y = b.Add(y, e.Residual)
	}
	if e.Act != kernels.Identity && e.ActLast {
		y = b.Activate(y, e.Act)
	}
	return y
}

// GroupNorm normalises groups of channels of an image.
type GroupNorm struct {
	Weight *Param `weight:"weight"`
	Bias   *Param `weight:"bias"`
	Groups int
	Eps    float64
}

// NewGroupNorm declares a layer over the given channels.
func NewGroupNorm(groups, channels int, eps float64) *GroupNorm {
	return &GroupNorm{Weight: NewParam(channels), Bias: NewParam(channels), Groups: groups, Eps: eps}
}

// Forward maps [B, H, W, C] to the same shape; with a skip, [B, H, W, C1] and [B, H, W, C2] to [B, H, W, C1+C2].
func (l *GroupNorm) Forward(b *Builder, x, skip *Value, act kernels.Activation) *Value {
	return b.layer(l, Epilogue{Act: act}, func(e Epilogue) *Value { return l.state(b, x, skip, e.Act) })
}

func (l *GroupNorm) state(b *Builder, x, skip *Value, act kernels.Activation) *Value {
	s := kernels.GroupNorm{Groups: l.Groups, Eps: l.Eps, Act: act, Concat: skip != nil}
	o := operands{x: x, x2: skip, weight: b.weight(l.Weight), bias: b.weight(l.Bias)}
	if in := o.inputs(s.Operands()); b.fuses(s, in...) {
		return b.apply1(s, in...)
	}
	if s.Concat {
		o.x = b.Concat(o.x, o.x2)
	}
	plain := kernels.GroupNorm{Groups: l.Groups, Eps: l.Eps}
	return b.epilogue(b.apply1(plain, o.inputs(plain.Operands())...), Epilogue{Act: act})
}

// LayerNorm normalises the last axis.
type LayerNorm struct {
	Weight *Param `weight:"weight"`
	Bias   *Param `weight:"bias"`
	Eps    float64
}

// NewLayerNorm declares a layer over the given channels.
func NewLayerNorm(channels int, eps float64) *LayerNorm {
	return &LayerNorm{Weight: NewParam(channels), Bias: NewParam(channels), Eps: eps}
}

// Forward keeps the shape.
func (l *LayerNorm) Forward(b *Builder, x *Value) *Value {
	s := kernels.LayerNorm{Eps: l.Eps}
	o := operands{x: x, weight: b.weight(l.Weight), bias: b.weight(l.Bias)}
	return b.Tap(l, b.apply1(s, o.inputs(s.Operands())...))
}

// Embedding is a matrix whose rows are looked up, of tokens or of positions.
type Embedding struct {
	Weight *Param `weight:"weight"` // [rows, channels]
}

// NewEmbedding declares a layer of so many rows.
func NewEmbedding(rows, channels int) *Embedding {
	return &Embedding{Weight: NewParam(rows, channels)}
}

// EmbedTokens adds the rows of tokens and those of their positions: ids [B, T] to [B, T, C].
func EmbedTokens(b *Builder, ids *Value, tokens, positions *Embedding) *Value {
	return b.apply1(kernels.Embedding{}, ids, b.weight(tokens.Weight), b.weight(positions.Weight))
}

func (b *Builder) optional(p *Param) *Value {
	if p == nil {
		return nil
	}
	return b.weight(p)
}

// operands are what a layer's operation reads; those that it does not have are nil.
type operands struct{ x, x2, weight, bias, broadcastBias, residual *Value }

// inputs lists the operands that a spec has in its order.
func (o operands) inputs(at kernels.Operands) []*Value {
	in := make([]*Value, at.Count)
	put := func(place int, v *Value) {
		if place != kernels.Absent {
			in[place] = v
		}
	}
	put(at.X, o.x)
	put(at.X2, o.x2)
	put(at.Weight, o.weight)
	put(at.Bias, o.bias)
	put(at.BroadcastBias, o.broadcastBias)
	put(at.Residual, o.residual)
	return in
}
