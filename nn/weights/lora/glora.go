package lora

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

func dims(shape []int) string { return fmt.Sprint(shape) }

// glora is GLoRA: Δ = f·(W·a1·a2 + b1·b2), where a1 and a2 act on the inputs of W.
type glora struct {
	tensor
	a1, a2, b1, b2 Matrix // (inputs, rank), (rank, inputs), (outputs, rank), (rank, inputs·kernel)
	scale          float32
}

func (g *glora) dependent() bool { return true }

func (g *glora) adder(a kernels.Arithmetic) adder {
	a1, a2, b1, b2, rank := g.a1.widen(a), g.a2.widen(a), g.b1.widen(a), g.b2.widen(a), g.a2.Rows
	return func(dst, w []float32, first int, f float32) {
		f *= g.scale
		a.AddProduct(dst, rowsOf(b1, first, dst, g.cols, rank), b2, rank, f)
		inner := borrow(len(dst) / g.inputs * rank)
		defer giveBack(inner)
		clear(*inner)
		if g.kernel == 1 {
			a.AddProduct(*inner, w, a1, g.inputs, 1)
			a.AddProduct(dst, *inner, a2, rank, f)
			return
		}
		// Along the inputs of each kernel position: W as (outputs·kernel, inputs) and back.
		turned := borrow(len(dst))
		defer giveBack(turned)
		for at := 0; at < len(dst); at += g.cols {
			transpose((*turned)[at:at+g.cols], w[at:at+g.cols], g.inputs)
		}
		a.AddProduct(*inner, *turned, a1, g.inputs, 1)
		clear(*turned)
		a.AddProduct(*turned, *inner, a2, rank, f)
		back := borrow(g.cols)
		defer giveBack(back)
		for at := 0; at < len(dst); at += g.cols {
			transpose(*back, (*turned)[at:at+g.cols], g.kernel)
			for i, x := range *back {
				dst[at+i] += x
			}
		}
	}
}

// glora builds both forms of GLoRA. The older one has its names turned round: Δ = f·(W·a2·a1 + b2·b1).
func (g *group) glora() (delta, error) {
	d := &glora{tensor: g.weight}
	for _, m := range []struct {
		part part
		to   *Matrix
	}{{gloraA1, &d.a1}, {gloraA2, &d.a2}, {gloraB1, &d.b1}, {gloraB2, &d.b2}} {
		var err error
		if *m.to, _, err = g.matrix(m.part); err != nil {
			return nil, err
		}
	}
	a1, a2, b1, b2 := d.a1, d.a2, d.b1, d.b2
	older := b2.Cols == b1.Rows && b1.Rows == a1.Rows && a1.Rows == a2.Cols
	if newer := b2.Rows == b1.Cols && b1.Cols == a1.Cols && a1.Cols == a2.Rows; newer && older {
		// A rank as large as the inputs: as ComfyUI decides.
		older = a2.Rows == g.weight.rows && g.weight.rows == g.weight.inputs
	}
	if older {
		d.a1, d.a2, d.b1, d.b2 = a2, a1, b2, b1
	}
	rank := d.a2.Rows
	if g.has(gloraBM) {
		var err error
		if d.b2, err = g.tucker(gloraBM, d.b2, gloraB2); err != nil {
			return nil, err
		}
	}
	if d.a1.Cols != rank || d.b1.Cols != rank || d.b2.Rows != rank || d.a1.Rows != d.a2.Cols {
		return nil, g.errorf(gloraA1, "", "its rank is not that of the other three: a1 is %d×%d, a2 %d×%d, b1 %d×%d, b2 %d×%d",
			a1.Rows, a1.Cols, a2.Rows, a2.Cols, b1.Rows, b1.Cols, b2.Rows, b2.Cols)
	}
	if err := g.fit(g.weight, "weight", gloraB1, d.b1.Rows*d.b2.Cols); err != nil {
		return nil, err
	}
	if d.b1.Rows != g.weight.rows || d.a1.Rows != g.weight.inputs {
		return nil, &misfit{misfitRows(g.stem, d.b1.Rows, g.weight.shape)}
	}
	var err error
	d.scale, err = g.factor(rank)
	return d, err
}
