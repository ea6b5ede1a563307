package lora

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// difference is Δ = f·x for a tensor x of the weight's size.
type difference struct {
	tensor
	x     Matrix
	scale float32
}

func (d *difference) dependent() bool { return false }

func (d *difference) adder(a kernels.Arithmetic) adder {
	return func(dst, _ []float32, first int, f float32) {
		f *= d.scale
		wide := d.x.span(a, first*d.cols, len(dst))
		defer giveBack(wide)
		for i, x := range (*wide)[:len(dst)] {
			dst[i] += f * x
		}
	}
}

// span widens n numbers of a tensor from one on. The caller gives them back.
func (m Matrix) span(a kernels.Arithmetic, first, n int) *[]float32 {
	wide, size := borrow(n), m.DType.Size()
	a.Widen(*wide, m.DType, m.Data[first*size:(first+n)*size])
	return wide
}

// difference builds a change by a whole tensor, of a weight or of a bias.
func (g *group) difference(p part, t tensor, what string, scale float32) (delta, error) {
	x, _, err := g.matrix(p)
	if err != nil {
		return nil, err
	}
	if err := g.fit(t, what, p, x.Rows*x.Cols); err != nil {
		return nil, err
	}
	return &difference{t, x, scale}, nil
}

// replaced is Δ = x − W: W' is a tensor x of the file.
type replaced struct {
	tensor
	x Matrix
}

func (r *replaced) dependent() bool { return true }

func (r *replaced) adder(a kernels.Arithmetic) adder {
	return func(dst, w []float32, first int, f float32) {
		x := r.x.span(a, first*r.cols, len(dst))
		defer giveBack(x)
		if f == 1 { // W' to the bit
			copy(dst, *x)
			return
		}
		for i, x := range *x {
			dst[i] += f * (x - w[i])
		}
	}
}

func (g *group) replaced() (delta, error) {
	x, _, err := g.matrix(setWeight)
	if err != nil {
		return nil, err
	}
	if err := g.fit(g.weight, "weight", setWeight, x.Rows*x.Cols); err != nil {
		return nil, err
	}
	return &replaced{g.weight, x}, nil
}

// sparse is Δ = f·x for a tensor x of which a few elements are not 0: what the extraction of a LoRA leaves over.
type sparse struct {
	tensor
	elements []element // in the order of their places
	scale    float32
}

// element is a number at a place in a weight.
type element struct {
	at int
	x  float32
}

func (s *sparse) dependent() bool { return false }

func (s *sparse) adder(kernels.Arithmetic) adder {
	return func(dst, _ []float32, first int, f float32) {
		f *= s.scale
		start := first * s.cols
		next, _ := slices.BinarySearchFunc(s.elements, start, func(e element, at int) int { return e.at - at })
		for ; next < len(s.elements) && s.elements[next].at < start+len(dst); next++ {
			dst[s.elements[next].at-start] += f * s.elements[next].x
		}
	}
}

// sparse reads a matrix in coordinates: indices (2, n), values (n), size (2). LyCORIS stores the integers in 16 bits.
func (g *group) sparse(scale float32) (delta, error) {
	for _, p := range []part{sparseIndices, sparseValues, sparseSize} {
		if !g.has(p) {
			return nil, g.errorf(p, "", "it is missing, but the module has %s", g.list())
		}
	}
	size, err := g.integers(sparseSize)
	if err != nil {
		return nil, err
	}
	indices, err := g.integers(sparseIndices)
	if err != nil {
		return nil, err
	}
	values, shape, err := g.floats(sparseValues)
	if err != nil {
		return nil, err
	}
	if len(size) != 2 || size[0] <= 0 || size[1] <= 0 || size[0] > 1<<24 || size[1] > 1<<24 {
		return nil, g.errorf(sparseSize, "two positive numbers", "%v", size)
	}
	if len(indices) != 2*len(values) {
		return nil, g.errorf(sparseIndices, fmt.Sprintf("2 for each of the %d values", len(values)), "%d indices for values of shape %v", len(indices), shape)
	}
	if err := g.fit(g.weight, "weight", sparseSize, size[0]*size[1]); err != nil {
		return nil, err
	}
	s := &sparse{tensor: g.weight, elements: make([]element, len(values)), scale: scale}
	for i := range values {
		r, c := indices[i], indices[len(values)+i]
		if r < 0 || r >= size[0] || c < 0 || c >= size[1] {
			return nil, g.errorf(sparseIndices, fmt.Sprintf("within the size %v", size), "element %d is at row %d, column %d", i, r, c)
		}
		s.elements[i] = element{r*size[1] + c, values[i]}
	}
	slices.SortStableFunc(s.elements, func(a, b element) int { return a.at - b.at })
	return s, nil
}
