package lora

import (
	"fmt"
	"slices"
	"sync"

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

// merged is a source under adapters.
type merged struct {
	kernels.Source
	component string
	steps     map[string][]Step
}

// Merge lays adapters over a component's weights: a tensor that they change is made when it is asked for, in float32
// from all changes in their order and rounded once to its own type; every other is src's own, which stays the caller's.
func Merge(src kernels.Source, component string, set []Selected) kernels.Source {
	return &merged{src, component, Steps(component, set)}
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

// change returns a changed copy of a tensor.
func (m *merged) change(dtype kernels.DType, shape []int, data []byte, steps []Step) ([]byte, error) {
	out := make([]byte, len(data))
	t := newTensor(shape)
	if low := lowRanks(steps); low != nil {
		if err := checkLowRanks(steps, shape); err != nil {
			return nil, err
		}
		m.products(dtype, t, out, data, low)
	} else if err := m.whole(dtype, t, out, data, steps); err != nil {
		return nil, err
	}
	if !weights.Finite(dtype, out) && weights.Finite(dtype, data) {
		return nil, fmt.Errorf("with %s it holds numbers that %v has not; try a lower strength", steps[len(steps)-1].File, dtype)
	}
	return out, nil
}

// checkLowRanks compares a tensor's shape with what the steps were matched with.
func checkLowRanks(steps []Step, shape []int) error {
	for _, s := range steps {
		if c, ok := s.Change.(*LowRank); ok && !slices.Equal(c.tensor.shape, shape) {
			return fmt.Errorf("%s: the shape is %v; allowed: %v, which the adapter was matched with", s.File, shape, c.tensor.shape)
		}
	}
	return nil
}

// buffers hold spans of weights in float32.
var buffers = sync.Pool{New: func() any { return new([]float32) }}

// products adds products of low rank. Rows do not depend on each other, so that each span of them is widened, changed
// and rounded while it is in the cache.
func (m *merged) products(dtype kernels.DType, t tensor, out, data []byte, low []kernels.LowRank) {
	size := dtype.Size()
	wide := make([][2][]float32, len(low)) // both factors of each
	for i, p := range low {
		for k, f := range []kernels.Factor{p.Up, p.Down} {
			wide[i][k] = make([]float32, f.Len())
			widenTo(wide[i][k], f.DType, f.Data)
		}
	}
	parallel(t.rows, t.cols, func(first, end int) {
		buffer := buffers.Get().(*[]float32)
		defer buffers.Put(buffer)
		if cap(*buffer) < (end-first)*t.cols {
			*buffer = make([]float32, (end-first)*t.cols)
		}
		w := (*buffer)[:(end-first)*t.cols]
		span := data[first*t.cols*size : end*t.cols*size]
		widenTo(w, dtype, span)
		for i, c := range low {
			addRows(w, wide[i][0][first*c.Rank:end*c.Rank], wide[i][1], c.Rank, c.Scale)
		}
		roundTo(out[first*t.cols*size:end*t.cols*size], dtype, w)
	})
}

// whole applies changes of any kind.
func (m *merged) whole(dtype kernels.DType, t tensor, out, data []byte, steps []Step) error {
	w := make([]float32, t.len())
	widenTo(w, dtype, data)
	for _, s := range steps {
		if err := s.Change.Apply(w, t.shape, s.Strength); err != nil {
			return fmt.Errorf("%s: %w", s.File, err)
		}
	}
	size := dtype.Size()
	parallel(t.rows, t.cols, func(first, end int) {
		roundTo(out[first*t.cols*size:end*t.cols*size], dtype, w[first*t.cols:end*t.cols])
	})
	return nil
}
