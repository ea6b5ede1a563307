package singlefile

import (
	"fmt"
	"maps"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Source is a source that also says how its file stores a tensor.
type Source interface {
	kernels.Source
	Stored(name string) (dtype string, shape []int, bytes int64, err error)
	Raw(name string) ([]byte, error)
}

// view is tensors of a source under other names, some of them rows of one, or transposed. It is a [kernels.Source], safe
// for concurrent use if its source is.
type view struct {
	src   Source
	parts map[string]part
	names []string
}

// part is where a tensor of a view lies.
type part struct {
	tensor    string // in the source
	third     int    // 1 to 3: only these rows; 0 for the whole
	transpose bool   // of a matrix
}

func newView(src Source, parts map[string]part) *view {
	return &view{src: src, parts: parts, names: slices.Sorted(maps.Keys(parts))}
}

// Names implements [kernels.Source].
func (v *view) Names() []string { return slices.Clone(v.names) }

// Describe implements [kernels.Source].
func (v *view) Describe(name string) (kernels.DType, []int, error) {
	p, dtype, shape, err := v.describe(name)
	if err != nil {
		return 0, nil, err
	}
	return dtype, p.shape(shape), nil
}

// describe is a tensor's place, and its type and shape there.
func (v *view) describe(name string) (part, kernels.DType, []int, error) {
	p, ok := v.parts[name]
	if !ok {
		return p, 0, nil, &weights.NameError{Source: "single file", Tensor: name}
	}
	dtype, shape, err := v.src.Describe(p.tensor)
	switch {
	case err != nil:
	case p.third > 0 && (len(shape) == 0 || shape[0]%3 != 0):
		err = fmt.Errorf("tensor %s is %v: must have rows in three equal parts, of queries, keys and values", p.tensor, shape)
	case p.transpose && len(shape) != 2:
		err = fmt.Errorf("tensor %s is %v: must be a matrix", p.tensor, shape)
	}
	return p, dtype, shape, err
}

// shape is that of the part of a tensor of the given shape.
func (p part) shape(whole []int) []int {
	shape := slices.Clone(whole)
	if p.third > 0 {
		shape[0] /= 3
	}
	if p.transpose {
		shape[0], shape[1] = shape[1], shape[0]
	}
	return shape
}

// Tensor implements [kernels.Source]: rows alias the source's data, a transposed matrix is made anew.
func (v *view) Tensor(name string) (kernels.DType, []int, []byte, error) {
	p, dtype, shape, err := v.describe(name)
	if err != nil {
		return 0, nil, nil, err
	}
	_, _, data, err := v.src.Tensor(p.tensor)
	if err != nil {
		return 0, nil, nil, err
	}
	return dtype, p.shape(shape), p.cut(data, shape, dtype.Size()), nil
}

// Raw returns a tensor's bytes as the file has them, as [weights.File.Raw] does.
func (v *view) Raw(name string) ([]byte, error) {
	p, _, whole, err := v.describe(name)
	if err != nil {
		return nil, err
	}
	_, _, bytes, err := v.src.Stored(p.tensor)
	if err != nil {
		return nil, err
	}
	data, err := v.src.Raw(p.tensor)
	if err != nil {
		return nil, err
	}
	return p.cut(data, whole, int(bytes)/max(1, kernels.Elements(whole))), nil
}

// cut takes the part of a tensor of the given shape, whose elements have so many bytes.
func (p part) cut(data []byte, whole []int, size int) []byte {
	if p.third > 0 {
		n := len(data) / 3
		data = data[(p.third-1)*n : p.third*n : p.third*n]
	}
	if p.transpose {
		data = transposed(data, whole[0], whole[1], size)
	}
	return data
}

// transposed is a matrix of elements of so many bytes, its rows as columns.
func transposed(data []byte, rows, columns, size int) []byte {
	out := make([]byte, len(data))
	for r := range rows {
		for c := range columns {
			copy(out[(c*rows+r)*size:][:size], data[(r*columns+c)*size:])
		}
	}
	return out
}

// Stored describes a tensor as the file has it, as [weights.File.Stored] does.
func (v *view) Stored(name string) (dtype string, shape []int, bytes int64, err error) {
	p, ok := v.parts[name]
	if !ok {
		return "", nil, 0, &weights.NameError{Source: "single file", Tensor: name}
	}
	dtype, whole, bytes, err := v.src.Stored(p.tensor)
	if err != nil || p.third > 0 && (len(whole) == 0 || whole[0]%3 != 0) || p.transpose && len(whole) != 2 {
		return dtype, whole, bytes, err // Describe says what is wrong with it
	}
	if p.third > 0 {
		bytes /= 3
	}
	return dtype, p.shape(whole), bytes, nil
}

// Storage implements [kernels.Source].
func (v *view) Storage(name string) kernels.Storage {
	p, ok := v.parts[name]
	if !ok || p.transpose {
		return kernels.Made
	}
	return v.src.Storage(p.tensor)
}

// Release implements [kernels.Source]: the source is released, and with it the other components of the file.
func (v *view) Release() error { return v.src.Release() }
