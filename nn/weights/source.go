package weights

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Map is a source of tensors in memory.
type Map struct {
	tensors map[string]Tensor
	names   []string
}

// FromMap returns a source of tensors in memory, by name; their own Name is ignored. Data must be as long as shape and
// type say, which Tensor checks.
func FromMap(tensors map[string]Tensor) *Map {
	return &Map{tensors: maps.Clone(tensors), names: slices.Sorted(maps.Keys(tensors))}
}

// Names lists every tensor, sorted.
func (m *Map) Names() []string { return slices.Clone(m.names) }

// Describe implements [kernels.Source]: Data is not called.
func (m *Map) Describe(name string) (kernels.DType, []int, error) {
	t, ok := m.tensors[name]
	if !ok {
		return 0, nil, &NameError{Source: "tensors in memory", Tensor: name}
	}
	t.Name = name
	if _, err := t.bytes(); err != nil {
		return 0, nil, err
	}
	return t.DType, slices.Clone(t.Shape), nil
}

// Storage implements [kernels.Source]: Data makes a tensor when it is asked for.
func (m *Map) Storage(string) kernels.Storage { return kernels.Made }

// Release implements [kernels.Source] and does nothing: the map keeps no data.
func (m *Map) Release() error { return nil }

// Tensor returns one tensor; its data is what Data gives.
func (m *Map) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t, ok := m.tensors[name]
	if !ok {
		return 0, nil, nil, &NameError{Source: "tensors in memory", Tensor: name}
	}
	t.Name = name
	data, err := t.read()
	if err != nil {
		return 0, nil, nil, err
	}
	return t.DType, slices.Clone(t.Shape), data, nil
}

// renamed is a source under other names.
type renamed struct {
	src   kernels.Source
	old   map[string]string
	twice map[string]error
	names []string
}

// Rename returns src with every name put through rename; the empty name hides a tensor. Two tensors that get one name
// are an error when that name is asked for. Memory is released through src, which stays the owner.
func Rename(src kernels.Source, rename func(string) string) kernels.Source {
	r := &renamed{src: src, old: map[string]string{}, twice: map[string]error{}}
	for _, old := range src.Names() {
		name := rename(old)
		if name == "" {
			continue
		}
		if first, taken := r.old[name]; taken {
			r.twice[name] = fmt.Errorf("tensor %s: both %s and %s stand for it", quote(name), quote(first), quote(old))
			continue
		}
		r.old[name] = old
	}
	r.names = slices.Sorted(maps.Keys(r.old))
	return r
}

func (r *renamed) Names() []string { return slices.Clone(r.names) }

func (r *renamed) Tensor(name string) (kernels.DType, []int, []byte, error) {
	old, err := r.name(name)
	if err != nil {
		return 0, nil, nil, err
	}
	return r.src.Tensor(old)
}

// Describe implements [kernels.Source].
func (r *renamed) Describe(name string) (kernels.DType, []int, error) {
	old, err := r.name(name)
	if err != nil {
		return 0, nil, err
	}
	return r.src.Describe(old)
}

// Storage implements [kernels.Source].
func (r *renamed) Storage(name string) kernels.Storage {
	if old, err := r.name(name); err == nil {
		return r.src.Storage(old)
	}
	return kernels.Made
}

// name is what src calls a tensor.
func (r *renamed) name(name string) (string, error) {
	if err := r.twice[name]; err != nil {
		return "", err
	}
	old, ok := r.old[name]
	if !ok {
		return "", &NameError{Source: "weights", Tensor: name}
	}
	return old, nil
}

func (r *renamed) Release() error { return r.src.Release() }

// sampleBytes is how much of a tensor's head and tail Equal compares.
const sampleBytes = 4 << 10

// Equal reports whether two sources hold the same weights: the same names, types and shapes, and the same bytes in the
// first and the last 4 KB of every tensor, so that of mapped files little is read. Two tensors of one element type that
// no model takes count as equal.
func Equal(a, b kernels.Source) (bool, error) {
	names := a.Names()
	if !slices.Equal(names, b.Names()) {
		return false, nil
	}
	if x, ok := a.(*SyntheticSource); ok {
		if y, ok := b.(*SyntheticSource); ok && x.component == y.component && x.dtype == y.dtype && reflect.DeepEqual(x.shapes, y.shapes) {
			return true, nil // by their formula, without computing them
		}
	}
	for _, name := range names {
		dtypeA, shapeA, dataA, errA := a.Tensor(name)
		dtypeB, shapeB, dataB, errB := b.Tensor(name)
		var unusedA, unusedB *DTypeError
		if errors.As(errA, &unusedA) && errors.As(errB, &unusedB) {
			if unusedA.DType != unusedB.DType {
				return false, nil
			}
			continue
		}
		if errors.As(errA, &unusedA) && errB == nil || errors.As(errB, &unusedB) && errA == nil {
			return false, nil
		}
		if err := errors.Join(errA, errB); err != nil {
			return false, err
		}
		if dtypeA != dtypeB || !slices.Equal(shapeA, shapeB) || len(dataA) != len(dataB) {
			return false, nil
		}
		n := min(len(dataA), sampleBytes)
		if !bytes.Equal(dataA[:n], dataB[:n]) || !bytes.Equal(dataA[len(dataA)-n:], dataB[len(dataB)-n:]) {
			return false, nil
		}
	}
	return true, nil
}
