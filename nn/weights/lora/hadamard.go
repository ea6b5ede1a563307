package lora

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

func misfitRows(key string, rows int, shape []int) string {
	return fmt.Sprintf("%s has %d outputs, but the model's weight has the shape %v", key, rows, shape)
}

// hadamard is LoHa: Δ = f·(a1·b1) ∘ (a2·b2).
type hadamard struct {
	tensor
	up, down [2]Matrix
	scale    float32
}

func (h *hadamard) dependent() bool { return false }

func (h *hadamard) adder(a kernels.Arithmetic) adder {
	var up, down [2][]float32
	for i := range up {
		up[i], down[i] = h.up[i].widen(a), h.down[i].widen(a)
	}
	return func(dst, _ []float32, first int, f float32) {
		f *= h.scale
		var out [2]*[]float32
		for i := range out {
			out[i] = borrow(len(dst))
			defer giveBack(out[i])
			clear(*out[i])
			rank := h.down[i].Rows
			a.AddProduct(*out[i], rowsOf(up[i], first, dst, h.cols, rank), down[i], rank, 1)
		}
		x, y := (*out[0])[:len(dst)], (*out[1])[:len(dst)]
		for i := range dst {
			dst[i] += f * x[i] * y[i]
		}
	}
}

// hadamard builds LoHa, whose factors are a (outputs, rank) and b (rank, inputs); with Tucker cores a is (rank, outputs).
func (g *group) hadamard() (delta, error) {
	h := &hadamard{tensor: g.weight}
	for i, p := range [2]struct{ a, b, core part }{{hadaW1A, hadaW1B, hadaT1}, {hadaW2A, hadaW2B, hadaT2}} {
		a, aShape, err := g.matrix(p.a)
		if err != nil {
			return nil, err
		}
		b, bShape, err := g.matrix(p.b)
		if err != nil {
			return nil, err
		}
		rank := b.Rows
		if g.has(p.core) {
			if b, err = g.tucker(p.core, b, p.b); err != nil {
				return nil, err
			}
			if a.Rows != rank {
				return nil, g.errorf(p.a, "", "shape %v is not of the rank of %s, whose shape is %v", aShape, g.key(p.b), bShape)
			}
			a = matrixOf(transposed(a.Floats(), rank), a.Cols)
		}
		if a.Cols != rank {
			return nil, g.errorf(p.a, "", "shape %v is not of the rank of %s, whose shape is %v", aShape, g.key(p.b), bShape)
		}
		if err := g.fit(g.weight, "weight", p.a, a.Rows*b.Cols); err != nil {
			return nil, err
		}
		if a.Rows != g.weight.rows {
			return nil, &misfit{misfitRows(g.key(p.a), a.Rows, g.weight.shape)}
		}
		h.up[i], h.down[i] = a, b
	}
	var err error
	h.scale, err = g.factor(h.down[0].Rows)
	return h, err
}
