package lora

import "fmt"

func dims(shape []int) string { return fmt.Sprint(shape) }

// glora is GLoRA: Δ = f·(W·a1·a2 + b1·b2), where a1 and a2 act on the inputs of W.
type glora struct {
	tensor
	a1, a2, b1, b2 Matrix // (inputs, rank), (rank, inputs), (outputs, rank), (rank, inputs·kernel)
	scale          float32
}

func (g *glora) dependent() bool { return true }

func (g *glora) add(dst, w []float32, f float32) {
	f *= g.scale
	addProduct(dst, widen(g.b1), widen(g.b2), g.b2.Rows, f)
	a1, a2, rank := widen(g.a1), widen(g.a2), g.a2.Rows
	if g.kernel == 1 {
		addProduct(dst, product(w, a1, g.inputs), a2, rank, f)
		return
	}
	// Along the inputs of each kernel position: W as (outputs·kernel, inputs) and back.
	parallel(g.rows, g.cols, func(first, end int) {
		for r := first; r < end; r++ {
			turned := transposed(w[r*g.cols:][:g.cols], g.inputs)
			inner := make([]float32, g.kernel*rank)
			addRows(inner, turned, a1, g.inputs, 1)
			out := make([]float32, g.cols)
			addRows(out, inner, a2, rank, f)
			for i, x := range transposed(out, g.kernel) {
				dst[r*g.cols+i] += x
			}
		}
	})
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
