package kernels

import "slices"

// GroupNorm normalises groups of consecutive channels over an image with the biased variance, then applies weight, bias and Act.
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
	if err := arity(op, in, 3+count(s.Concat)); err != nil {
		return nil, err
	}
	x, rest := in[0], in[1:]
	if err := rank(op, "x", x, 4); err != nil {
		return nil, err
	}
	out := slices.Clone(x.Shape)
	if s.Concat {
		if err := rank(op, "x2", rest[0], 4); err != nil {
			return nil, err
		}
		c2 := rest[0].Shape[3]
		if err := shape(op, "x2", rest[0], out[0], out[1], out[2], c2); err != nil {
			return nil, err
		}
		out[3] += c2
		rest = rest[1:]
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
	if err := shape(op, "weight "+rest[0].Name, rest[0], out[3]); err != nil {
		return nil, err
	}
	if err := shape(op, "bias "+rest[1].Name, rest[1], out[3]); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s GroupNorm) FLOPs(in []Tensor) int64 {
	n := int64(in[0].Len())
	if s.Concat {
		n += int64(in[1].Len())
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
	if err := arity(op, in, 3); err != nil {
		return nil, err
	}
	x := in[0]
	if len(x.Shape) < 2 {
		return nil, &OpError{op, "rank of x", len(x.Shape), "at least 2"}
	}
	if !(s.Eps > 0) {
		return nil, &OpError{op, "eps", s.Eps, "positive"}
	}
	c := x.Shape[len(x.Shape)-1]
	if err := shape(op, "weight "+in[1].Name, in[1], c); err != nil {
		return nil, err
	}
	if err := shape(op, "bias "+in[2].Name, in[2], c); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: slices.Clone(x.Shape)}}, floats(op, in)
}

// FLOPs implements Spec.
func (s LayerNorm) FLOPs(in []Tensor) int64 { return 8 * int64(in[0].Len()) }
