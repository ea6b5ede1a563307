package lora

import (
	"fmt"
	"math"
	"slices"
)

// decomposed is DoRA: W' = m·V/‖V‖ with V = W + Δ. The norm is that of each output, or of each input.
type decomposed struct {
	tensor
	deltas    []delta
	magnitude []float32
	byInput   bool
}

// Apply implements [Change].
func (c *decomposed) Apply(w []float32, shape []int, s float32) error {
	if err := c.checkShape(w, shape); err != nil {
		return err
	}
	v := slices.Clone(w)
	for _, d := range c.deltas {
		d.add(v, w, 1)
	}
	by := c.norms(v)
	for i, n := range by {
		if n > 0 { // an output of zeros has no direction and stays
			by[i] = float64(c.magnitude[i]) / n
		}
	}
	parallel(c.rows, c.cols, func(first, end int) {
		for r := first; r < end; r++ {
			for i := range c.cols {
				at := r
				if c.byInput {
					at = i / c.kernel
				}
				x := float32(by[at] * float64(v[r*c.cols+i]))
				if s == 1 {
					w[r*c.cols+i] = x
				} else {
					w[r*c.cols+i] += s * (x - w[r*c.cols+i])
				}
			}
		}
	})
	return nil
}

// norms are the Euclidean norms of the outputs or inputs of v.
func (c *decomposed) norms(v []float32) []float64 {
	n := make([]float64, len(c.magnitude))
	for r := range c.rows {
		for i, x := range v[r*c.cols:][:c.cols] {
			at := r
			if c.byInput {
				at = i / c.kernel
			}
			n[at] += float64(x) * float64(x)
		}
	}
	for i := range n {
		n[i] = math.Sqrt(n[i])
	}
	return n
}

// decomposed puts DoRA over the changes of a weight. The shape of the magnitude says what is normed: with all axes but
// the first of size 1 the outputs (LyCORIS), with all but the second the inputs (the paper, kohya), also where the
// weight is square. One axis is that of the inputs unless only the outputs are so many. PEFT's is the outputs'.
func (g *group) decomposed(deltas []delta) (Change, error) {
	p := doraScale
	if !g.has(p) {
		p = magnitude
	}
	m, shape, err := g.floats(p)
	if err != nil {
		return nil, err
	}
	c := &decomposed{tensor: g.weight, deltas: deltas, magnitude: m}
	switch {
	case p == magnitude:
	case len(shape) == 1:
		c.byInput = len(m) == c.inputs
	case len(shape) > 1:
		c.byInput = shape[0] != len(m)
		if c.byInput && shape[1] != len(m) {
			return nil, g.errorf(p, "one axis of outputs or inputs, the others of size 1", "shape %v", shape)
		}
	}
	want := c.rows
	if c.byInput {
		want = c.inputs
	}
	if len(m) != want {
		return nil, g.errorf(p, fmt.Sprintf("%d outputs or %d inputs", c.rows, c.inputs), "shape %v", shape)
	}
	return c, nil
}
