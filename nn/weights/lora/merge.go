package lora

import (
	"fmt"
	"sync/atomic"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Selected is an adapter at a strength.
type Selected struct {
	Adapter   *Adapter
	Strengths Strengths
}

// Step is a change at a strength other than 0.
type Step struct {
	Change   Change
	Strength float32
	File     string // of the adapter, for errors
}

// Steps lists what a set of adapters does to the tensors of a component, in the order of the set. Changes of strength 0
// are not among them.
func Steps(component string, set []Selected) map[string][]Step {
	steps := map[string][]Step{}
	for _, sel := range set {
		for name, changes := range sel.Adapter.changes[component] {
			s := sel.Strengths.For(component, name)
			if s == 0 {
				continue
			}
			for _, c := range changes {
				if low, ok := c.(*LowRank); ok && sel.Strengths.Rank > 0 {
					c = low.Cut(sel.Strengths.Rank)
				}
				steps[name] = append(steps[name], Step{c, s, sel.Adapter.file.Path()})
			}
		}
	}
	return steps
}

// merged is a source under adapters. It implements [kernels.Computed].
type merged struct {
	kernels.Source
	component  string
	steps      map[string][]Step
	arithmetic kernels.Arithmetic
}

// Merge lays adapters over a component's weights: a tensor that they change is made when it is asked for, in float32
// from all changes in their order and rounded once to its own type; every other is src's own, which stays the caller's.
func Merge(src kernels.Source, component string, set []Selected) kernels.Source {
	return &merged{src, component, Steps(component, set), plain{}}
}

// With implements [kernels.Computed].
func (m *merged) With(a kernels.Arithmetic) kernels.Source {
	return &merged{m.Source, m.component, m.steps, a}
}

// Storage implements [kernels.Source].
func (m *merged) Storage(name string) kernels.Storage {
	if len(m.steps[name]) > 0 {
		return kernels.Made
	}
	return m.Source.Storage(name)
}

// Tensor implements [kernels.Source].
func (m *merged) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := m.Source.Tensor(name)
	steps := m.steps[name]
	if err != nil || len(steps) == 0 {
		return dtype, shape, data, err
	}
	out, err := m.change(dtype, shape, data, steps)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("%s, tensor %s: %w", m.component, name, err)
	}
	return dtype, shape, out, nil
}

// change returns a changed copy of a tensor. Each span of rows is widened, changed and rounded while it is in the cache.
func (m *merged) change(dtype kernels.DType, shape []int, data []byte, steps []Step) ([]byte, error) {
	group, changes := 1, make([]change, len(steps))
	for i, s := range steps {
		if err := s.Change.target().checkShape(shape); err != nil {
			return nil, fmt.Errorf("%s: %w", s.File, err)
		}
		group, changes[i] = lcm(group, s.Change.group()), s.Change.ready(m.arithmetic)
	}
	t, size, out := newTensor(shape), dtype.Size(), make([]byte, len(data))
	var overflow atomic.Bool
	parallel(t.rows, t.cols, group, func(first, end int) {
		w := borrow((end - first) * t.cols)
		defer giveBack(w)
		from, to := data[first*t.cols*size:end*t.cols*size], out[first*t.cols*size:end*t.cols*size]
		m.arithmetic.Widen(*w, dtype, from)
		for i, s := range steps {
			changes[i](*w, first, s.Strength)
		}
		m.arithmetic.Round(to, dtype, *w)
		if !weights.Finite(dtype, to) && weights.Finite(dtype, from) {
			overflow.Store(true)
		}
	})
	if overflow.Load() {
		return nil, fmt.Errorf("with %s it holds numbers that %v has not; try a lower strength", steps[len(steps)-1].File, dtype)
	}
	return out, nil
}
