package kernels

import "slices"

// GroupNorm normalises groups of consecutive channels over an image with the biased variance, then applies weight, bias
// and Act.
//
// Inputs: x [B, H, W, C]; x2 [B, H, W, C2] if Concat, whose channels follow x's; weight and bias [C+C2].
// Output: [B, H, W, C+C2].
type GroupNorm struct {
	Groups int
	Eps    float64
	Concat bool
	Act    Activation // Identity or SiLU
}

// Infer implements Spec.
func (s GroupNorm) Infer(in []Tensor) ([]Tensor, error) {
	const op = "GroupNorm"
	at := s.Operands()
	if err := arity(op, in, at.Count); err != nil {
		return nil, err
	}
	x, weight, bias := in[at.X], in[at.Weight], in[at.Bias]
	if err := rank(op, "x", x, 4); err != nil {
		return nil, err
	}
	out := slices.Clone(x.Shape)
	if s.Concat {
		x2 := in[at.X2]
		if err := rank(op, "x2", x2, 4); err != nil {
			return nil, err
		}
		c2 := x2.Shape[3]
		if err := shape(op, "x2", x2, out[0], out[1], out[2], c2); err != nil {
			return nil, err
		}
		out[3] += c2
	}
	if s.Groups < 1 || out[3]%s.Groups != 0 {
		return nil, &OpError{op, "groups", s.Groups, []any{"a divisor of", out[3]}}
	}
	if !(s.Eps > 0) {
		return nil, &OpError{op, "eps", s.Eps, "positive"}
	}
	if s.Act != Identity && s.Act != SiLU {
		return nil, &OpError{op, "activation", s.Act, "identity or silu"}
	}
	if err := shape(op, "weight "+weight.Name, weight, out[3]); err != nil {
		return nil, err
	}
	if err := shape(op, "bias "+bias.Name, bias, out[3]); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s GroupNorm) FLOPs(in []Tensor) int64 {
	at := s.Operands()
	n := int64(in[at.X].Len())
	if s.Concat {
		n += int64(in[at.X2].Len())
	}
	return 8 * n
}

// LayerNorm normalises the last axis with the biased variance, then applies weight and bias.
//
// Inputs: x [..., C]; weight and bias [C]. Output: x's shape.
type LayerNorm struct{ Eps float64 }

// Infer implements Spec.
func (s LayerNorm) Infer(in []Tensor) ([]Tensor, error) {
	const op = "LayerNorm"
	at := s.Operands()
	if err := arity(op, in, at.Count); err != nil {
		return nil, err
	}
	x, weight, bias := in[at.X], in[at.Weight], in[at.Bias]
	if len(x.Shape) < 2 {
		return nil, &OpError{op, "rank of x", len(x.Shape), "at least 2"}
	}
	if !(s.Eps > 0) {
		return nil, &OpError{op, "eps", s.Eps, "positive"}
	}
	c := x.Shape[len(x.Shape)-1]
	if err := shape(op, "weight "+weight.Name, weight, c); err != nil {
		return nil, err
	}
	if err := shape(op, "bias "+bias.Name, bias, c); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: slices.Clone(x.Shape)}}, floats(op, in)
}

// FLOPs implements Spec.
func (s LayerNorm) FLOPs(in []Tensor) int64 { return 8 * int64(in[s.Operands().X].Len()) }
