package lora

import "github.com/goxl/goxl/kernels"

// scaled is IA3: Δ = W ∘ x along the inputs or the outputs of W.
type scaled struct {
	tensor
	x       []float32
	onInput bool
}

func (s *scaled) dependent() bool { return true }

func (s *scaled) adder(kernels.Arithmetic) adder {
	return func(dst, w []float32, first int, f float32) {
		for at := 0; at < len(dst); at += s.cols {
			to, from := dst[at:at+s.cols], w[at:at+s.cols]
			if !s.onInput {
				by := s.x[first+at/s.cols]
				for i, v := range from {
					to[i] += f * v * by
				}
				continue
			}
			for j, by := range s.x {
				part := to[j*s.kernel:][:s.kernel]
				for i, v := range from[j*s.kernel:][:s.kernel] {
					part[i] += f * v * by
				}
			}
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
