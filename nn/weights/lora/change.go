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

	target() tensor
	// group is how many rows, from a multiple of them on, the change makes of each other: 1 where every row of W' comes
	// of its row of W alone.
	group() int
	// ready reads what the change needs; what it returns is safe for concurrent use.
	ready(a kernels.Arithmetic) change
}

// change puts W + s·(W' − W) in place of rows of W from row first on, whole groups of them.
type change func(w []float32, first int, s float32)

// delta is a change that is a sum: W' = W + Δ, where Δ may depend on W.
type delta interface {
	group() int // as a [Change]'s
	dependent() bool
	// adder reads the factors; what it returns is safe for concurrent use.
	adder(a kernels.Arithmetic) adder
}

// adder is dst += f·Δ(w) for rows of both from row first on, whole groups of them. dst may be w only where dependent
// reports false.
type adder func(dst, w []float32, first int, f float32)

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

func (t tensor) target() tensor { return t }

// group implements [Change] and [delta] for those that take each row by itself.
func (t tensor) group() int { return 1 }

// checkShape compares the shape that a change is applied to with what was matched.
func (t tensor) checkShape(shape []int) error {
	if !slices.Equal(shape, t.shape) {
		return fmt.Errorf("the shape is %v; allowed: %v, which the adapter was matched with", shape, t.shape)
	}
	return nil
}

// apply is Apply of any change.
func apply(c Change, w []float32, shape []int, s float32) error {
	t := c.target()
	if err := t.checkShape(shape); err != nil {
		return err
	}
	if len(w) != t.len() {
		return fmt.Errorf("%d numbers of shape %v", len(w), shape)
	}
	change := c.ready(plain{})
	parallel(t.rows, t.cols, c.group(), func(first, end int) { change(w[first*t.cols:end*t.cols], first, s) })
	return nil
}

// applied is a change of the kind W' = W + Δ.
type applied struct {
	tensor
	delta delta
}

// Apply implements [Change].
func (c applied) Apply(w []float32, shape []int, s float32) error { return apply(c, w, shape, s) }

func (c applied) group() int { return c.delta.group() }

func (c applied) ready(a kernels.Arithmetic) change {
	add := c.delta.adder(a)
	if !c.delta.dependent() {
		return func(w []float32, first int, s float32) { add(w, w, first, s) }
	}
	return func(w []float32, first int, s float32) {
		base := borrow(len(w))
		defer giveBack(base)
		copy(*base, w)
		add(w, *base, first, s)
	}
}

// LowRank is the change W' = W + Scale·Up·Down of LoRA, LoCon and DyLoRA. W is taken as a matrix of Up.Rows outputs by
// Down.Cols inputs, which for a convolution are its input channels times its kernel. Devices that merge by themselves
// take the factors from here.
type LowRank struct {
	Up, Down Matrix // Up has as many columns as Down rows: the rank
	Scale    float32
	tensor
}

// Rank is the rank of the product.
func (c *LowRank) Rank() int { return c.Down.Rows }

// Apply implements [Change].
func (c *LowRank) Apply(w []float32, shape []int, s float32) error { return apply(c, w, shape, s) }

func (c *LowRank) dependent() bool { return false }

func (c *LowRank) ready(a kernels.Arithmetic) change {
	add := c.adder(a)
	return func(w []float32, first int, s float32) { add(w, w, first, s) }
}

func (c *LowRank) adder(a kernels.Arithmetic) adder {
	up, down, rank := c.Up.widen(a), c.Down.widen(a), c.Rank()
	return func(dst, _ []float32, first int, f float32) {
		a.AddProduct(dst, rowsOf(up, first, dst, c.cols, rank), down, rank, f*c.Scale)
	}
}

// rowsOf are those rows of a factor, of so many columns, that belong to dst, rows of a weight from row first on.
func rowsOf(up []float32, first int, dst []float32, cols, rank int) []float32 {
	return up[first*rank : (first+len(dst)/cols)*rank]
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
