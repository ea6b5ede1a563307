package lora

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Change is what an adapter does to one tensor.
type Change interface {
	// Apply puts W + s·(W' − W) in place of w, a tensor of that shape in row order. An error is a shape other than that
	// which the change was matched with.
	Apply(w []float32, shape []int, s float32) error
}

// delta is a change that is a sum: W' = W + Δ, where Δ may depend on W.
type delta interface {
	// add is dst += f·Δ(w). dst may be w only where dependent reports false.
	add(dst, w []float32, f float32)
	dependent() bool
}

// tensor is the shape of a target as the kinds see it: a matrix of outputs by inputs and kernel.
type tensor struct {
	shape  []int
	rows   int // outputs
	cols   int // inputs · kernel
	inputs int
	kernel int
}

func newTensor(shape []int) tensor {
	t := tensor{shape: shape, rows: 1, inputs: 1, kernel: 1}
	for i, d := range shape {
		switch i {
		case 0:
			t.rows = d
		case 1:
			t.inputs = d
		default:
			t.kernel *= d
		}
	}
	t.cols = t.inputs * t.kernel
	return t
}

func (t tensor) len() int { return t.rows * t.cols }

// checkShape compares what Apply was given with what was matched.
func (t tensor) checkShape(w []float32, shape []int) error {
	if !slices.Equal(shape, t.shape) || len(w) != kernels.Elements(shape) {
		return fmt.Errorf("%d numbers of shape %v; allowed: the shape %v that the adapter was matched with", len(w), shape, t.shape)
	}
	return nil
}

// applied is a change of the kind W' = W + Δ.
type applied struct {
	tensor
	delta delta
}

// Apply implements [Change].
func (c applied) Apply(w []float32, shape []int, s float32) error {
	if err := c.checkShape(w, shape); err != nil {
		return err
	}
	base := w
	if c.delta.dependent() {
		base = slices.Clone(w)
	}
	c.delta.add(w, base, s)
	return nil
}

// LowRank is the change W' = W + Scale·Up·Down of LoRA, LoCon and DyLoRA. W is taken as a matrix of Up.Rows outputs by
// Down.Cols inputs, which for a convolution are its input channels times its kernel. Devices that merge by themselves
// take the factors from here.
type LowRank struct {
	Up, Down Matrix // Up has as many columns as Down rows: the rank
	Scale    float32
	tensor   tensor
}

// Rank is the rank of the product.
func (c *LowRank) Rank() int { return c.Down.Rows }

// Apply implements [Change].
func (c *LowRank) Apply(w []float32, shape []int, s float32) error {
	if err := c.tensor.checkShape(w, shape); err != nil {
		return err
	}
	c.add(w, nil, s)
	return nil
}

func (c *LowRank) dependent() bool { return false }

func (c *LowRank) add(dst, _ []float32, f float32) {
	addProduct(dst, widen(c.Up), widen(c.Down), c.Rank(), f*c.Scale)
}

// Cut returns the change with its first ranks alone, as DyLoRA is trained for; the scale stays, as in A1111. From the
// rank on it is the change itself.
func (c *LowRank) Cut(rank int) *LowRank {
	if rank >= c.Rank() {
		return c
	}
	size := c.Down.DType.Size()
	cut := *c
	cut.Down.Rows, cut.Down.Data = rank, c.Down.Data[:rank*c.Down.Cols*size]
	cut.Up.Cols, cut.Up.Data = rank, nil
	size = c.Up.DType.Size()
	for i := range c.Up.Rows {
		cut.Up.Data = append(cut.Up.Data, c.Up.Data[i*c.Up.Cols*size:][:rank*size]...)
	}
	return &cut
}

// widen returns a factor in float32.
func widen(m Matrix) []float32 {
	out := make([]float32, m.Rows*m.Cols)
	widenTo(out, m.DType, m.Data)
	return out
}
