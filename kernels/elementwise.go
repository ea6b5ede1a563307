package kernels

import "slices"

// Activate applies Act. Input: x [..., N]. Output: x's shape; GEGLU halves the last axis.
type Activate struct{ Act Activation }

// Infer implements Spec.
func (s Activate) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Activate"
	if err := arity(op, in, 1); err != nil {
		return nil, err
	}
	if err := axes(op, "x", in[0]); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0].Shape)
	n, err := s.Act.width(op, out[len(out)-1])
	if err != nil {
		return nil, err
	}
	out[len(out)-1] = n
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Activate) FLOPs(in []Tensor) int64 { return 8 * int64(in[0].Len()) }

// PReLU is x where x is above 0, else x times its channel's slope; NaN stays NaN. Source: torch nn.PReLU.
//
// Inputs: x [..., C]; slope [C]. Output: x's shape.
type PReLU struct{}

// Infer implements Spec.
func (s PReLU) Infer(in []Tensor) ([]Tensor, error) {
	const op = "PReLU"
	if err := arity(op, in, 2); err != nil {
		return nil, err
	}
	if err := axes(op, "x", in[0]); err != nil {
		return nil, err
	}
	out := slices.Clone(in[0].Shape)
	if err := shape(op, "slope", in[1], out[len(out)-1]); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s PReLU) FLOPs(in []Tensor) int64 { return int64(in[0].Len()) }

// Add is x + y. Inputs: x [B, ..., C]; y of x's shape, or [B, C] if Rows, which is added to every position.
type Add struct{ Rows bool }

// Infer implements Spec.
func (s Add) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Add"
	if err := arity(op, in, 2); err != nil {
		return nil, err
	}
	want := in[0].Shape
	if s.Rows {
		if len(want) < 2 {
			return nil, &OpError{op, "rank of x", len(want), "at least 2"}
		}
		want = []int{want[0], want[len(want)-1]}
	}
	if err := shape(op, "y", in[1], want...); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: slices.Clone(in[0].Shape)}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Add) FLOPs(in []Tensor) int64 { return int64(in[0].Len()) }

// AddMasked is x + mask·y. Inputs: x and y [B, ..., C]; mask [B, G·T], G factors for each of the T positions of the
// middle axes, each of C/G consecutive channels; mostly G is 1. Output: x's shape.
type AddMasked struct{}

// Infer implements Spec.
func (s AddMasked) Infer(in []Tensor) ([]Tensor, error) {
	const op = "AddMasked"
	if err := arity(op, in, 3); err != nil {
		return nil, err
	}
	if len(in[0].Shape) < 3 {
		return nil, &OpError{op, "rank of x", len(in[0].Shape), "at least 3"}
	}
	if err := shape(op, "y", in[1], in[0].Shape...); err != nil {
		return nil, err
	}
	factors := Tokens(in[0])
	if m := in[2].Shape; len(m) == 2 && m[1] > factors && m[1]%factors == 0 && in[0].Shape[len(in[0].Shape)-1]%(m[1]/factors) == 0 {
		factors = m[1]
	}
	if err := shape(op, "mask", in[2], in[0].Shape[0], factors); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: slices.Clone(in[0].Shape)}}, floats(op, in)
}

// FLOPs implements Spec.
func (s AddMasked) FLOPs(in []Tensor) int64 { return 2 * int64(in[0].Len()) }

// Concat joins two tensors along the last axis, inputs x [..., C1] and y [..., C2], or along the middle one if Tokens,
// inputs x [B, T1, C] and y [B, T2, C].
type Concat struct{ Tokens bool }

// Widths are the numbers of consecutive elements that rows of the result take from x and y in turns.
func (s Concat) Widths(x, y Tensor) (int, int) {
	last := len(x.Shape) - 1
	if s.Tokens {
		return x.Shape[1] * x.Shape[2], y.Shape[1] * y.Shape[2]
	}
	return x.Shape[last], y.Shape[last]
}

// Infer implements Spec.
func (s Concat) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Concat"
	if err := arity(op, in, 2); err != nil {
		return nil, err
	}
	if err := axes(op, "x", in[0]); err != nil {
		return nil, err
	}
	last := len(in[0].Shape) - 1
	if err := rank(op, "y", in[1], last+1); err != nil {
		return nil, err
	}
	axis := last
	if s.Tokens {
		if err := rank(op, "x", in[0], 3); err != nil {
			return nil, err
		}
		axis = 1
	}
	out := slices.Clone(in[0].Shape)
	out[axis] = in[1].Shape[axis]
	if err := shape(op, "y", in[1], out...); err != nil {
		return nil, err
	}
	out[axis] += in[0].Shape[axis]
	return []Tensor{{DType: F32, Shape: out}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Concat) FLOPs([]Tensor) int64 { return 0 }

// Resize is nearest neighbour: row i of the output is row ⌊i·h/H⌋ of the input, columns alike.
//
// Input: x [B, h, w, C]. Output: [B, H, W, C].
type Resize struct{ H, W int }

// Infer implements Spec.
func (s Resize) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Resize"
	if err := arity(op, in, 1); err != nil {
		return nil, err
	}
	if err := rank(op, "x", in[0], 4); err != nil {
		return nil, err
	}
	if s.H < 1 || s.W < 1 {
		return nil, &OpError{op, "size", []int{s.H, s.W}, "positive"}
	}
	return []Tensor{{DType: F32, Shape: []int{in[0].Shape[0], s.H, s.W, in[0].Shape[3]}}}, floats(op, in)
}

// FLOPs implements Spec.
func (s Resize) FLOPs([]Tensor) int64 { return 0 }

// Embedding adds a token's row and its position's row.
//
// Inputs: ids I32 [B, T]; tokens [V, C]; positions [P, C] with P ≥ T. Output: [B, T, C].
// An id outside 0…V−1 is an error of the run.
type Embedding struct{}

// Infer implements Spec.
func (s Embedding) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Embedding"
	if err := arity(op, in, 3); err != nil {
		return nil, err
	}
	ids, tokens, positions := in[0], in[1], in[2]
	for i, name := range []string{"ids", "tokens", "positions"} {
		if err := rank(op, name, in[i], 2); err != nil {
			return nil, err
		}
	}
	if ids.DType != I32 {
		return nil, &OpError{op, "ids", ids.DType, I32}
	}
	if positions.Shape[0] < ids.Shape[1] || positions.Shape[1] != tokens.Shape[1] {
		return nil, &OpError{op, "positions", positions.Shape, []any{"at least", ids.Shape[1], "rows of", tokens.Shape[1]}}
	}
	return []Tensor{{DType: F32, Shape: []int{ids.Shape[0], ids.Shape[1], tokens.Shape[1]}}}, floats(op, in[1:])
}

// FLOPs implements Spec.
func (s Embedding) FLOPs(in []Tensor) int64 { return int64(in[0].Len()) * int64(in[1].Shape[1]) }

// Gather takes one row of each sequence. Inputs: x [B, T, C]; rows I32 [B]. Output: [B, C].
// A row outside 0…T−1 is an error of the run.
type Gather struct{}

// Infer implements Spec.
func (s Gather) Infer(in []Tensor) ([]Tensor, error) {
	const op = "Gather"
	if err := arity(op, in, 2); err != nil {
		return nil, err
	}
	if err := rank(op, "x", in[0], 3); err != nil {
		return nil, err
	}
	if in[1].DType != I32 {
		return nil, &OpError{op, "rows", in[1].DType, I32}
	}
	if err := shape(op, "rows", in[1], in[0].Shape[0]); err != nil {
		return nil, err
	}
	return []Tensor{{DType: F32, Shape: []int{in[0].Shape[0], in[0].Shape[2]}}}, floats(op, in[:1])
}

// FLOPs implements Spec.
func (s Gather) FLOPs([]Tensor) int64 { return 0 }
