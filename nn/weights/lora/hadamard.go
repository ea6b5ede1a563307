package lora

import "fmt"

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

func (h *hadamard) add(dst, _ []float32, f float32) {
	var up, down [2][]float32
	for i := range up {
		up[i], down[i] = widen(h.up[i]), widen(h.down[i])
	}
	f *= h.scale
	parallel(h.rows, h.cols, func(first, end int) {
		var out [2][]float32
		for i := range out {
			rank := h.down[i].Rows
			out[i] = make([]float32, (end-first)*h.cols)
			addRows(out[i], up[i][first*rank:end*rank], down[i], rank, 1)
		}
		for i, y := range out[1] {
			dst[first*h.cols+i] += f * out[0][i] * y
		}
	})
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
