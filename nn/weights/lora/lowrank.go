package lora

import "fmt"

// lowRank builds LoRA and LoCon, with and without a Tucker core.
func (g *group) lowRank() (delta, error) {
	u, upShape, err := g.matrix(up)
	if err != nil {
		return nil, err
	}
	d, downShape, err := g.matrix(down)
	if err != nil {
		return nil, err
	}
	rank := d.Rows
	f, err := g.factor(rank)
	if err != nil {
		return nil, err
	}
	if u.Cols != rank {
		return nil, g.errorf(up, "", "shape %v is not of the rank of %s, whose shape is %v", upShape, g.key(down), downShape)
	}
	if g.has(mid) {
		if d, err = g.tucker(mid, d, down); err != nil {
			return nil, err
		}
	}
	if err := g.fit(g.weight, "weight", up, u.Rows*d.Cols); err != nil {
		return nil, err
	}
	if u.Rows != g.weight.rows {
		return nil, &misfit{misfitRows(g.key(up), u.Rows, g.weight.shape)}
	}
	return &LowRank{Up: u, Down: d, Scale: f, tensor: g.weight}, nil
}

// tucker multiplies the factor of the inputs with a Tucker core, (rank, rank, kernel).
func (g *group) tucker(core part, x Matrix, of part) (Matrix, error) {
	t, shape, err := g.floats(core)
	if err != nil {
		return Matrix{}, err
	}
	rank := x.Rows
	if len(shape) < 2 || shape[0] != rank || shape[1] != rank {
		return Matrix{}, g.errorf(core, fmt.Sprintf("the rank %d of %s twice, then the kernel", rank, g.key(of)), "shape %v", shape)
	}
	// Before it is made: a damaged file may ask for more than there is memory.
	if kernel := len(t) / (rank * rank); x.Cols > g.weight.cols || x.Cols*kernel > g.weight.cols {
		return Matrix{}, &misfit{fmt.Sprintf("%s and %s make rows of %d numbers, but the model's weight has the shape %v", g.key(core), g.key(of), x.Cols*kernel, g.weight.shape)}
	}
	return matrixOf(tucker(t, x.Floats(), rank), rank), nil
}

// tucker multiplies a core (rank, inner, kernel) with the factor of the inputs (inner, inputs) to a matrix of rank rows:
// Σ over inner of core[i, inner, kernel]·x[inner, input].
func tucker(core, x []float32, inner int) []float32 {
	inputs := len(x) / inner
	rank := inner
	kernel := len(core) / (rank * inner)
	out := make([]float32, rank*inputs*kernel)
	for i := range rank {
		row := out[i*inputs*kernel:][:inputs*kernel]
		for j := range inner {
			taps := core[(i*inner+j)*kernel:][:kernel]
			for c, v := range x[j*inputs:][:inputs] {
				for k, t := range taps {
					row[c*kernel+k] += v * t
				}
			}
		}
	}
	return out
}
