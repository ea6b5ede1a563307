package nn

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Tensor is float32 numbers on the host: dense, in row-major order, so that the last dimension varies fastest. Every
// dimension of Shape is positive, a scalar has none, and Data holds as many numbers as their product. What takes or
// returns a Tensor documents its axes; activations of a network are [B, H, W, C] for images and [B, T, C] for sequences.
type Tensor struct {
	Shape []int
	Data  []float32
}

// NewTensor returns zeros. It panics if a dimension is not positive.
func NewTensor(shape ...int) *Tensor {
	for _, d := range shape {
		if d < 1 {
			panic(fmt.Sprintf("nn: a tensor of shape %v: dimensions must be positive", shape))
		}
	}
	return &Tensor{Shape: slices.Clone(shape), Data: make([]float32, kernels.Elements(shape))}
}

// Len is how many elements the shape has.
func (t *Tensor) Len() int { return kernels.Elements(t.Shape) }

// Check returns an error, which calls the tensor by name, unless Shape and Data agree. If want is given, the shape must
// be that; a dimension of want that is 0 may have any size.
func (t *Tensor) Check(name string, want ...int) error {
	if t == nil {
		return fmt.Errorf("%s is nil: must be a tensor%s", name, shapeText(want))
	}
	elements := 1
	for _, d := range t.Shape {
		if d < 1 || d > max(len(t.Data), 1)/elements {
			return fmt.Errorf("%s has shape %v and %d values: dimensions must be positive, their product the number of values",
				name, t.Shape, len(t.Data))
		}
		elements *= d
	}
	if elements != len(t.Data) {
		return fmt.Errorf("%s has %d values: shape %v has %d", name, len(t.Data), t.Shape, elements)
	}
	if want == nil {
		return nil
	}
	fits := func(got, want int) bool { return want == 0 || got == want }
	if !slices.EqualFunc(t.Shape, want, fits) {
		return fmt.Errorf("%s has shape %v: must be%s", name, t.Shape, shapeText(want))
	}
	return nil
}

// shapeText shows a wanted shape after a space, with * for what may be any; nothing without one.
func shapeText(want []int) string {
	if want == nil {
		return ""
	}
	s := make([]any, len(want))
	for i, d := range want {
		s[i] = d
		if d == 0 {
			s[i] = "*"
		}
	}
	return fmt.Sprintf(" %v", s)
}

// Clone is a copy that shares nothing.
func (t *Tensor) Clone() *Tensor {
	return &Tensor{Shape: slices.Clone(t.Shape), Data: slices.Clone(t.Data)}
}

// At is the element at an index, which has a number for each dimension. It panics if the index is outside.
func (t *Tensor) At(index ...int) float32 {
	if len(index) != len(t.Shape) {
		panic(fmt.Sprintf("nn: index %v of a tensor of shape %v", index, t.Shape))
	}
	at := 0
	for i, d := range t.Shape {
		if index[i] < 0 || index[i] >= d {
			panic(fmt.Sprintf("nn: index %v of a tensor of shape %v", index, t.Shape))
		}
		at = at*d + index[i]
	}
	return t.Data[at]
}
