package kernels

import "slices"

func arity(op string, in []Tensor, want int) error {
	if len(in) != want {
		return &OpError{op, "number of inputs", len(in), want}
	}
	return nil
}

func rank(op, what string, t Tensor, want int) error {
	if len(t.Shape) != want {
		return &OpError{op, "rank of " + what, len(t.Shape), want}
	}
	return nil
}

// axes refuses scalars.
func axes(op, what string, t Tensor) error {
	if len(t.Shape) == 0 {
		return &OpError{op, "rank of " + what, 0, "at least 1"}
	}
	return nil
}

func shape(op, what string, t Tensor, want ...int) error {
	if !slices.Equal(t.Shape, want) {
		return &OpError{op, what, t.Shape, want}
	}
	return nil
}

// floats refuses integer tensors where numbers are computed with, and 16-bit types for anything but weights.
func floats(op string, in []Tensor) error {
	for _, t := range in {
		if t.DType != F32 && (t.Role != Weight || t.DType == I32 || t.DType == U8) {
			return &OpError{op, "type of " + t.Name, t.DType, F32}
		}
	}
	return nil
}
