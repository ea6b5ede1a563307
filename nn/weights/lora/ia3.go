package lora

// scaled is IA3: Δ = W ∘ x along the inputs or the outputs of W.
type scaled struct {
	tensor
	x       []float32
	onInput bool
}

func (s *scaled) dependent() bool { return true }

func (s *scaled) add(dst, w []float32, f float32) {
	for r := range s.rows {
		for c := range s.cols {
			i, at := r*s.cols+c, r
			if s.onInput {
				at = c / s.kernel
			}
			dst[i] += f * w[i] * s.x[at]
		}
	}
}

// scaled builds IA3: weight has a factor for each input or output channel, as on_input says.
func (g *group) scaled() (delta, error) {
	on, err := g.number(ia3OnInput)
	if err != nil {
		return nil, err
	}
	x, shape, err := g.floats(ia3Weight)
	if err != nil {
		return nil, err
	}
	s := &scaled{tensor: g.weight, x: x, onInput: on != 0}
	if err := g.fit(g.weight, "weight", ia3Weight, g.weight.len()); err != nil {
		return nil, err
	}
	want := g.weight.rows
	if s.onInput {
		want = g.weight.inputs
	}
	if len(x) != want {
		return nil, &misfit{g.key(ia3Weight) + " has the shape " + dims(shape) + ", but the model's weight has the shape " + dims(g.weight.shape)}
	}
	return s, nil
}
