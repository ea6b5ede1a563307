package weights

import (
	"errors"
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights/pickle"
)

// parsePickle reads a file that torch.save wrote.
func parsePickle(name string, data []byte) (*File, error) {
	p, err := pickle.Parse(data)
	if err != nil {
		var perr *pickle.Error
		if errors.As(err, &perr) {
			return nil, &FileError{File: name, Tensor: perr.Tensor, What: perr.What, Allowed: perr.Allowed}
		}
		return nil, &FileError{File: name, Err: err}
	}
	f := &File{path: name, data: data, metadata: p.Values, entries: make(map[string]*entry, len(p.Tensors))}
	for _, t := range p.Tensors {
		element, known := elementTypeNamed(t.DType)
		if !known {
			element = elementType{name: t.DType} // one that no model takes
		}
		e := &entry{dtype: element.reads, stored: element.name, shape: t.Shape, cast: element.cast, begin: t.Offset, end: t.Offset + len(t.Data),
			size: int64(kernels.Elements(t.Shape)) * int64(t.Size)}
		if t.Offset < 0 {
			e.held, e.begin, e.end = t.Data, 0, 0
		}
		if t.Strides != nil {
			e.dense = func(data []byte) []byte { return inOrder(data, t.Shape, t.Strides, t.Size) }
		}
		f.entries[t.Name] = e
	}
	f.names = slices.Sorted(maps.Keys(f.entries))
	return f, nil
}

// inOrder copies elements of so many bytes, which lie at strides in elements, one behind the other.
func inOrder(data []byte, shape, strides []int, item int) []byte {
	out := make([]byte, 0, kernels.Elements(shape)*item)
	var copyDim func(at, dim int)
	copyDim = func(at, dim int) {
		switch {
		case dim == len(shape):
			out = append(out, data[at*item:(at+1)*item]...)
		case dim == len(shape)-1 && strides[dim] == 1:
			out = append(out, data[at*item:(at+shape[dim])*item]...)
		default:
			for i := range shape[dim] {
				copyDim(at+i*strides[dim], dim+1)
			}
		}
	}
	copyDim(0, 0)
	return out
}
