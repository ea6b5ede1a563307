package lora

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// decomposed is DoRA: W' = m·V/‖V‖ with V = W + Δ. The norm is that of each output, or of each input.
type decomposed struct {
	tensor
	deltas    []delta
	magnitude []float32
	byInput   bool
}

// Apply implements [Change].
func (c *decomposed) Apply(w []float32, shape []int, s float32) error { return apply(c, w, shape, s) }

// group is that of the deltas where outputs are normed, else all rows: the norm of an input is over all outputs.
func (c *decomposed) group() int {
	if c.byInput {
		return c.rows
	}
	n := 1
	for _, d := range c.deltas {
		n = lcm(n, d.group())
	}
	return n
}

func (c *decomposed) ready(a kernels.Arithmetic) change {
	adders := make([]adder, len(c.deltas))
	group := 1
	for i, d := range c.deltas {
		adders[i], group = d.adder(a), lcm(group, d.group())
	}
	// add makes V of rows of W.
	add := func(v, w []float32, first int) {
		copy(v, w)
		for _, add := range adders {
			add(v, w, first, 1)
		}
	}
	if c.byInput {
		return func(w []float32, _ int, s float32) { c.normInputs(w, s, group, add) }
	}
	return func(w []float32, first int, s float32) {
		v := borrow(len(w))
		defer giveBack(v)
		add(*v, w, first)
		for at := 0; at < len(w); at += c.cols {
			row := (*v)[at : at+c.cols]
			scaleBy(row, ratio(c.magnitude[first+at/c.cols], squares(row)))
		}
		towards(w, *v, s)
	}
}

// normInputs is the change of a whole weight by its inputs. Sums of squares are added in the order of the spans, which
// does not depend on how many CPUs there are.
func (c *decomposed) normInputs(w []float32, s float32, group int, add func(v, w []float32, first int)) {
	v := make([]float32, len(w))
	sums := make([][]float64, c.rows) // of the span that begins there, by input
	parallel(c.rows, c.cols, group, func(first, end int) {
		sum := make([]float64, c.inputs)
		add(v[first*c.cols:end*c.cols], w[first*c.cols:end*c.cols], first)
		for r := first; r < end; r++ {
			row := v[r*c.cols:][:c.cols]
			if c.kernel == 1 {
				for j, x := range row[:len(sum)] {
					sum[j] += float64(x) * float64(x)
				}
				continue
			}
			for j := range sum {
				sum[j] += squares(row[j*c.kernel:][:c.kernel])
			}
		}
		sums[first] = sum
	})
	by := make([]float64, c.inputs)
	for _, sum := range sums {
		for j, x := range sum {
			by[j] += x
		}
	}
	for j, x := range by {
		by[j] = ratio(c.magnitude[j], x)
	}
	parallel(c.rows, c.cols, 1, func(first, end int) {
		for r := first; r < end; r++ {
			row := v[r*c.cols:][:c.cols]
			if c.kernel == 1 {
				for j, f := range by[:len(row)] {
					row[j] = float32(f * float64(row[j]))
				}
				continue
			}
			for j, f := range by {
				scaleBy(row[j*c.kernel:][:c.kernel], f)
			}
		}
		towards(w[first*c.cols:end*c.cols], v[first*c.cols:end*c.cols], s)
	})
}

// ratio is m over the norm whose square is given; what is all zeros has no direction and stays.
func ratio(m float32, square float64) float64 {
	if square == 0 {
		return 0
	}
	return float64(m) / math.Sqrt(square)
}

// squares is the sum of the squares of x, in four sums that do not wait for each other.
func squares(x []float32) float64 {
	var s [4]float64
	for ; len(x) >= 4; x = x[4:] {
		s[0] += float64(x[0]) * float64(x[0])
		s[1] += float64(x[1]) * float64(x[1])
		s[2] += float64(x[2]) * float64(x[2])
		s[3] += float64(x[3]) * float64(x[3])
	}
	for _, v := range x {
		s[0] += float64(v) * float64(v)
	}
	return (s[0] + s[1]) + (s[2] + s[3])
}

// scaleBy multiplies x with f, in float64.
func scaleBy(x []float32, f float64) {
	for i, v := range x {
		x[i] = float32(f * float64(v))
	}
}

// towards is w += s·(x − w), x to the bit at 1.
func towards(w, x []float32, s float32) {
	if s == 1 {
		copy(w, x)
		return
	}
	x = x[:len(w)]
	for i := range w {
		w[i] += s * (x[i] - w[i])
	}
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
