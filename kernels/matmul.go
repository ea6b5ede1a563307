package kernels

import "slices"

// Linear is y = act(x·Wᵀ + bias) + residual over the last axis.
//
// Inputs: x [..., K]; weight [N, K]; bias [N] if Bias; residual, of the output's shape, if Residual.
// Output: [..., N], or [..., N/2] for GEGLU.
type Linear struct {
	Bias     bool
	Act      Activation
	Residual bool
}

// Infer implements Spec.
func (s Linear) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Linear"
	at := s.Operands()
	if err := arity(op, in, at.Count); err != nil {
		return nil, err
	}
	x, w := in[at.X], in[at.Weight]
	if err := rank(op, "weight", w, 2); err != nil {
		return nil, err
	}
	if len(x.Shape) < 2 {
		return nil, &OpError{op, "rank of x", len(x.Shape), "at least 2"}
	}
	k := x.Shape[len(x.Shape)-1]
	if w.Shape[1] != k {
		return nil, &OpError{op, "weight " + w.Name, w.Shape, []int{w.Shape[0], k}}
	}
	if s.Bias {
		if err := shape(op, "bias", in[at.Bias], w.Shape[0]); err != nil {
			return nil, err
		}
	}
	n, err := s.Act.width(op, w.Shape[0])
	if err != nil {
		return nil, err
	}
	out := slices.Clone(x.Shape)
	out[len(out)-1] = n
	if s.Residual {
		if err := shape(op, "residual", in[at.Residual], out...); err != nil {
			return nil, err
		}
	}
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Linear) FLOPs(in []Tensor) int64 {
	at := s.Operands()
	return 2 * int64(in[at.X].Len()) * int64(in[at.Weight].Shape[0])
}

// Padding is the number of zero rows and columns around an image.
type Padding struct{ Top, Left, Bottom, Right int }

// Conv2d is y = act(conv(x) + bias + broadcastBias) + residual, or, if ActLast, y = act(conv(x) + bias + broadcastBias +
// residual).
//
// Inputs, NHWC: x [B, H, W, C]; x2 [B, H, W, C2] if Concat, whose channels follow x's; weight [O, C+C2, kh, kw]; bias
// [O] if Bias; broadcastBias [B, O] if BroadcastBias, added at every position (the time embedding of a residual block);
// residual, of the output's shape, if Residual.
// If UpH and UpW are set, x is first resized to them by nearest neighbour (source row ⌊i·H/UpH⌋).
// Output: [B, (H+top+bottom−kh)/Stride+1, …, O].
type Conv2d struct {
	Stride        int
	Pad           Padding
	UpH, UpW      int
	Concat        bool
	Bias          bool
	BroadcastBias bool
	Act           Activation // not GEGLU
	ActLast       bool       // the activation comes after the residual, which there must be
	Residual      bool
}

// Infer implements Spec.
func (s Conv2d) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Conv2d"
	at := s.Operands()
	if err := arity(op, in, at.Count); err != nil {
		return nil, err
	}
	x, weight := in[at.X], in[at.Weight]
	if err := rank(op, "x", x, 4); err != nil {
		return nil, err
	}
	b, h, w, c := x.Shape[0], x.Shape[1], x.Shape[2], x.Shape[3]
	if s.Concat {
		x2 := in[at.X2]
		if err := rank(op, "x2", x2, 4); err != nil {
			return nil, err
		}
		c2 := x2.Shape[3]
		if err := shape(op, "x2", x2, b, h, w, c2); err != nil {
			return nil, err
		}
		c += c2
	}
	if err := rank(op, "weight", weight, 4); err != nil {
		return nil, err
	}
	o, kh, kw := weight.Shape[0], weight.Shape[2], weight.Shape[3]
	if err := shape(op, "weight "+weight.Name, weight, o, c, kh, kw); err != nil {
		return nil, err
	}
	if s.Bias {
		if err := shape(op, "bias", in[at.Bias], o); err != nil {
			return nil, err
		}
	}
	if s.BroadcastBias {
		if err := shape(op, "broadcast bias", in[at.BroadcastBias], b, o); err != nil {
			return nil, err
		}
	}
	if s.Stride < 1 {
		return nil, &OpError{op, "stride", s.Stride, "at least 1"}
	}
	if min(s.Pad.Top, s.Pad.Left, s.Pad.Bottom, s.Pad.Right) < 0 {
		return nil, &OpError{op, "padding", s.Pad, "not negative"}
	}
	if s.Act >= GEGLU {
		return nil, &OpError{op, "activation", s.Act, "one that keeps the width"}
	}
	if s.ActLast && !s.Residual {
		return nil, &OpError{op, "activation after the residual", s.Act, "a residual"}
	}
	if (s.UpH == 0) != (s.UpW == 0) || s.UpH < 0 || s.UpW < 0 {
		return nil, &OpError{op, "size to resize to", []int{s.UpH, s.UpW}, "two positive numbers, or none"}
	}
	if s.UpH > 0 {
		h, w = s.UpH, s.UpW
	}
	h, w = h+s.Pad.Top+s.Pad.Bottom-kh, w+s.Pad.Left+s.Pad.Right-kw
	if h < 0 || w < 0 {
		return nil, &OpError{op, "padded image", []int{h + kh, w + kw}, []any{"at least the kernel", kh, kw}}
	}
	out := []int{b, h/s.Stride + 1, w/s.Stride + 1, o}
	if s.Residual {
		if err := shape(op, "residual", in[at.Residual], out...); err != nil {
			return nil, err
		}
	}
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec. Taps that fall on padding are counted.
func (s Conv2d) FLOPs(in []Tensor) int64 {
	out, err := s.Infer(in)
	if err != nil {
		return 0
	}
	w := in[s.Operands().Weight].Shape
	return 2 * int64(out[0].Len()) * int64(w[1]*w[2]*w[3])
}

// Attention is softmax(q·kᵀ/√d)·v for each head; heads are consecutive slices of d channels.
//
// Inputs: q [B, ..., Heads·d], whose middle axes together are its T tokens (an image's rows and columns, for instance);
// k and v [B, ..., Heads·d] of S tokens. Output: q's shape. Causal: query t sees keys 0…t; T equals S.
type Attention struct {
	Heads  int
	Causal bool
}

// Tokens returns the product of the middle axes: the sequence length of an attention operand.
func Tokens(t Tensor) int { return Elements(t.Shape[1 : len(t.Shape)-1]) }

// Infer implements Spec.
func (s Attention) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Attention"
	if err := arity(op, in, 3); err != nil {
		return nil, err
	}
	q, k, v := in[0], in[1], in[2]
	for i, name := range []string{"q", "k", "v"} {
		if len(in[i].Shape) < 3 {
			return nil, &OpError{op, "rank of " + name, len(in[i].Shape), "at least 3"}
		}
	}
	c := q.Shape[len(q.Shape)-1]
	if s.Heads < 1 || c%s.Heads != 0 {
		return nil, &OpError{op, "heads", s.Heads, []any{"a divisor of", c}}
	}
	if k.Shape[0] != q.Shape[0] || k.Shape[len(k.Shape)-1] != c {
		return nil, &OpError{op, "k", k.Shape, []any{"a batch of", q.Shape[0], "and channels of", c}}
	}
	if s.Causal && Tokens(k) != Tokens(q) {
		return nil, &OpError{op, "number of keys", Tokens(k), Tokens(q)}
	}
	if err := shape(op, "v", v, k.Shape...); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: slices.Clone(q.Shape)}}, floats(op, in)
}

// FLOPs implements Spec: the two matrix products, masked scores counted.
func (s Attention) FLOPs(in []Tensor) int64 {
	return 4 * int64(in[0].Len()) * int64(Tokens(in[1]))
}
