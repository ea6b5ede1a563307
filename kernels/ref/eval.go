package ref

import (
	"errors"
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// Tensor is a dense tensor. Exactly one of F, I and B is set and holds kernels.Elements(Shape) elements; 16-bit weights
// are widened to F by the caller.
type Tensor struct {
	Shape []int
	F     []float32
	I     []int32
	B     []uint8
}

// desc describes t as a weight, the role that admits every type.
func (t Tensor) desc() kernels.Tensor {
	d := kernels.Tensor{Role: kernels.Weight, DType: kernels.F32, Shape: t.Shape}
	if t.I != nil {
		d.DType = kernels.I32
	}
	if t.B != nil {
		d.DType = kernels.U8
	}
	return d
}

type float interface{ ~float32 | ~float64 }

// element computes the element of an output at a flat index. It may remember what elements nearby share (a row of
// attention weights, the statistics of a norm), so ascending order is fastest; it is not safe for concurrent use.
type element[T float] func(i int) T

// Eval computes elements of output out of s in float64. elems are flat indices into that output, nil means all of them.
// Bad shapes, indices and ids are errors.
func Eval(s kernels.Spec, in []Tensor, out int, elems []int) ([]float64, error) {
	return eval[float64](s, in, out, elems)
}

// Eval32 is Eval in float32: sums accumulate one term after the other, and each operation's result is rounded.
func Eval32(s kernels.Spec, in []Tensor, out int, elems []int) ([]float32, error) {
	return eval[float32](s, in, out, elems)
}

// Run computes every output of s in float64 and rounds it to float32; pixels are the bytes of float32's arithmetic,
// which defines them.
func Run(s kernels.Spec, in []Tensor) ([]Tensor, error) {
	shapes, err := infer(s, in)
	if err != nil {
		return nil, err
	}
	outs := make([]Tensor, len(shapes))
	for k, t := range shapes {
		if t.DType == kernels.U8 {
			y, err := Eval32(s, in, k, nil)
			if err != nil {
				return nil, err
			}
			outs[k] = Tensor{Shape: t.Shape, B: make([]uint8, len(y))}
			for i, v := range y {
				outs[k].B[i] = uint8(v)
			}
			continue
		}
		y, err := Eval(s, in, k, nil)
		if err != nil {
			return nil, err
		}
		outs[k] = Tensor{Shape: t.Shape, F: make([]float32, len(y))}
		for i, v := range y {
			outs[k].F[i] = float32(v)
		}
	}
	return outs, nil
}

// infer checks the data of the inputs, then their shapes.
func infer(s kernels.Spec, in []Tensor) ([]kernels.Tensor, error) {
	if s == nil {
		return nil, errors.New("ref: no operation")
	}
	descs := make([]kernels.Tensor, len(in))
	for k, t := range in {
		for _, d := range t.Shape {
			if d < 1 {
				return nil, fmt.Errorf("ref: input %d has shape %v, dimensions must be positive", k, t.Shape)
			}
		}
		kinds := 0
		for _, there := range []bool{t.F != nil, t.I != nil, t.B != nil} {
			if there {
				kinds++
			}
		}
		if n := kernels.Elements(t.Shape); kinds != 1 || len(t.F)+len(t.I)+len(t.B) != n {
			return nil, fmt.Errorf("ref: input %d of shape %v holds %d floats, %d integers and %d bytes, want %d of one of them",
				k, t.Shape, len(t.F), len(t.I), len(t.B), n)
		}
		descs[k] = t.desc()
	}
	return s.Infer(descs)
}

func eval[T float](s kernels.Spec, in []Tensor, out int, elems []int) ([]T, error) {
	outs, err := infer(s, in)
	if err != nil {
		return nil, err
	}
	if out < 0 || out >= len(outs) {
		return nil, fmt.Errorf("ref: output %d of %T, which has %d", out, s, len(outs))
	}
	f, err := formula[T](s, in, out)
	if err != nil {
		return nil, err
	}
	n := outs[out].Len()
	if elems == nil {
		y := make([]T, n)
		for i := range y {
			y[i] = f(i)
		}
		return y, nil
	}
	y := make([]T, len(elems))
	for k, i := range elems {
		if i < 0 || i >= n {
			return nil, fmt.Errorf("ref: element %d of an output of %d", i, n)
		}
		y[k] = f(i)
	}
	return y, nil
}

// formula picks the operation. Shapes have passed Infer.
func formula[T float](s kernels.Spec, in []Tensor, out int) (element[T], error) {
	switch s := s.(type) {
	case kernels.Linear:
		return linear[T](s, in), nil
	case kernels.Conv2d:
		return conv2d[T](s, in), nil
	case kernels.Attention:
		return attention[T](s, in), nil
	case kernels.GroupNorm:
		return groupNorm[T](s, in), nil
	case kernels.LayerNorm:
		return layerNorm[T](s, in), nil
	case kernels.Activate:
		return activate[T](s, in), nil
	case kernels.PReLU:
		return prelu[T](in), nil
	case kernels.Add:
		return add[T](s, in), nil
	case kernels.AddMasked:
		return addMasked[T](in), nil
	case kernels.Concat:
		return concat[T](s, in), nil
	case kernels.Resize:
		return resize[T](s, in), nil
	case kernels.ToPixels:
		return toPixels[T](in), nil
	case kernels.FromPixels:
		return fromPixels[T](in), nil
	case kernels.Embedding:
		return embedding[T](in)
	case kernels.Gather:
		return gather[T](in)
	case kernels.Sinusoid:
		return sinusoid[T](s, in), nil
	case kernels.ScaleRepeat:
		return scaleRepeat[T](in), nil
	case kernels.Guidance:
		return guidance[T](s, in), nil
	case kernels.Solver:
		return solver[T](s, in, out), nil
	}
	return nil, fmt.Errorf("ref: no formula for %T", s)
}
