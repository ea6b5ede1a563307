package lora

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// group are the tensors that a file has for one module.
type group struct {
	file   *File
	stem   string // of the first key
	module module
	keys   map[part]string
	used   map[part]bool
	peft   peftConfig
	weight tensor // of the module; rows is 0 if the model has none
	bias   tensor
	notes  []string    // warnings
	left   []Unmatched // parts that the model has no place for
}

func (g *group) has(p part) bool { _, ok := g.keys[p]; return ok }

// key is the file's name of a part, for errors: of one that is missing, what it would be.
func (g *group) key(p part) string {
	if key, ok := g.keys[p]; ok {
		return key
	}
	return g.stem + "." + string(p)
}

// errorf is an error about a part.
func (g *group) errorf(p part, allowed, format string, a ...any) error {
	return &weights.FileError{File: g.file.Path(), Tensor: g.key(p), What: fmt.Sprintf(format, a...), Allowed: allowed}
}

// matrix reads a part as a matrix whose rows are its first axis.
func (g *group) matrix(p part) (Matrix, []int, error) {
	key, ok := g.keys[p]
	if !ok {
		return Matrix{}, nil, g.errorf(p, "", "it is missing, but the module has %s", g.list())
	}
	g.used[p] = true
	dtype, shape, data, err := g.file.Tensor(key)
	if err != nil {
		return Matrix{}, nil, err
	}
	if !weights.Finite(dtype, data) {
		return Matrix{}, nil, g.errorf(p, "finite numbers", "it holds NaN or Inf")
	}
	m := Matrix{Rows: 1, Cols: 1, DType: dtype, Data: data}
	for i, d := range shape {
		if i == 0 {
			m.Rows = d
		} else {
			m.Cols *= d
		}
	}
	if m.Rows == 0 || m.Cols == 0 {
		return Matrix{}, nil, g.errorf(p, "at least one number", "shape %v", shape)
	}
	return m, shape, nil
}

// floats reads a part in float32.
func (g *group) floats(p part) ([]float32, []int, error) {
	m, shape, err := g.matrix(p)
	if err != nil {
		return nil, nil, err
	}
	return m.Floats(), shape, nil
}

// number reads a part of one element, of any float or integer type, in whatever shape.
func (g *group) number(p part) (float32, error) {
	key := g.keys[p]
	g.used[p] = true
	_, shape, _, err := g.file.Stored(key)
	if err != nil {
		return 0, err
	}
	if kernels.Elements(shape) != 1 {
		return 0, g.errorf(p, "one number", "shape %v", shape)
	}
	if _, _, err := g.file.Describe(key); !isUnused(err) {
		x, _, err := g.floats(p)
		if err != nil {
			return 0, err
		}
		return x[0], nil
	}
	whole, err := g.integers(p)
	if err != nil {
		return 0, err
	}
	return float32(whole[0]), nil
}

// integers reads a part of an integer type.
func (g *group) integers(p part) ([]int, error) {
	key := g.keys[p]
	g.used[p] = true
	dtype, _, _, err := g.file.Stored(key)
	if err != nil {
		return nil, err
	}
	data, err := g.file.Raw(key)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int{"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8}
	size, ok := sizes[dtype]
	if !ok {
		return nil, g.errorf(p, "BOOL, U8, I8, I16, I32, I64", "element type %s", dtype)
	}
	out := make([]int, len(data)/size)
	for i := range out {
		b := data[i*size:]
		switch dtype {
		case "BOOL", "U8":
			out[i] = int(b[0])
		case "I8":
			out[i] = int(int8(b[0]))
		case "I16":
			out[i] = int(int16(binary.LittleEndian.Uint16(b)))
		case "I32":
			out[i] = int(int32(binary.LittleEndian.Uint32(b)))
		default:
			out[i] = int(binary.LittleEndian.Uint64(b))
		}
	}
	return out, nil
}

// list names the parts that the file has of the module.
func (g *group) list() string {
	var all []string
	for _, p := range slices.Sorted(maps.Keys(g.keys)) {
		all = append(all, string(p))
	}
	return strings.Join(all, ", ")
}

// factor is what a low-rank product is multiplied with: alpha/rank, 1 without an alpha.
func (g *group) factor(rank int) (float32, error) {
	if g.has(scale) {
		if g.has(alpha) {
			g.used[alpha] = true // the scale replaces it
		}
		return g.number(scale)
	}
	if !g.has(alpha) {
		return g.peft.factor(g.module.path, rank), nil
	}
	a, err := g.number(alpha)
	if err != nil {
		return 0, err
	}
	if a == 0 {
		// Who trains with alpha 0 trains without one (kohya, LyCORIS).
		g.notes = append(g.notes, fmt.Sprintf("%s is 0 and counts as the rank %d, as in the trainers; ComfyUI and A1111 take no effect from such a module", g.key(alpha), rank))
		return 1, nil
	}
	return a / float32(rank), nil
}

// misfit is a module that is well formed but does not fit the model's tensor of its name.
type misfit struct{ why string }

func (m *misfit) Error() string { return m.why }

// fit checks that a change has the shape of the tensor that it changes.
func (g *group) fit(t tensor, what string, p part, n int) error {
	switch {
	case t.rows == 0:
		return &misfit{fmt.Sprintf("the model has no %s there", what)}
	case n != t.len():
		return &misfit{fmt.Sprintf("%s makes %d numbers, but the model's %s has the shape %v", g.key(p), n, what, t.shape)}
	}
	return nil
}
