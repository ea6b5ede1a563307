package nn

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// Param is one tensor that a module expects.
type Param struct {
	Shape []int
	name  string        // in the checkpoint; set by Bind
	dtype kernels.DType // in the file; set by Bind
}

// NewParam declares a tensor.
func NewParam(shape ...int) *Param { return &Param{Shape: shape} }

// Shapes returns every tensor of a module tree by its checkpoint name.
func Shapes(module any) map[string][]int {
	shapes := map[string][]int{}
	walk(reflect.ValueOf(module), "", func(name string, p *Param) { shapes[name] = p.Shape })
	return shapes
}

// Parameters counts the numbers in a module tree.
func Parameters(module any) int64 {
	var n int64
	walk(reflect.ValueOf(module), "", func(_ string, p *Param) { n += int64(kernels.Elements(p.Shape)) })
	return n
}

// walk visits the parameters of a module. Grammar: a struct field tagged `weight:"name"` is a *Param, a module or a slice of modules (whose index
// joins the path); a nil one is a part that this configuration lacks; fields without a tag are not visited.
func walk(v reflect.Value, path string, visit func(name string, p *Param)) {
	if p, ok := v.Interface().(*Param); ok {
		if p != nil {
			visit(path, p)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), path, visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), join(path, strconv.Itoa(i)), visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name, ok := v.Type().Field(i).Tag.Lookup("weight"); ok {
				walk(v.Field(i), join(path, name), visit)
			}
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// BindError lists everything that keeps a checkpoint from fitting a module, sorted.
type BindError struct {
	Missing   []string // "name [shape]"
	Wrong     []string // "name [got], want [shape]", or what is wrong with its type
	Unclaimed []string // tensors that no module has
}

func (e *BindError) Error() string {
	var s strings.Builder
	for _, part := range []struct {
		what string
		list []string
	}{{"missing", e.Missing}, {"wrong", e.Wrong}, {"unknown", e.Unclaimed}} {
		if len(part.list) == 0 {
			continue
		}
		if s.Len() > 0 {
			s.WriteString("; ")
		}
		fmt.Fprintf(&s, "%d %s tensors: ", len(part.list), part.what)
		const most = 8 // enough to see what kind of model it is; a UNet has 1680
		s.WriteString(strings.Join(part.list[:min(most, len(part.list))], ", "))
		if len(part.list) > most {
			s.WriteString(", …")
		}
	}
	return s.String()
}

// Bind gives every parameter of the module its tensor in src and returns the source to compile with. It is strict both ways: missing and misshaped tensors,
// types other than F32, F16 and BF16, and tensors that no parameter claims come back as one *BindError. Names in ignore may be there unclaimed.
// A linear layer's weight stored as a 1×1 convolution is taken as the matrix it is.
func Bind(module any, src kernels.Source, ignore ...string) (kernels.Source, error) {
	bound := &boundSource{Source: src, shapes: map[string][]int{}}
	var e BindError
	names := src.Names()
	claimed := map[string]bool{}
	walk(reflect.ValueOf(module), "", func(name string, p *Param) {
		claimed[name] = true
		if _, found := slices.BinarySearch(names, name); !found {
			e.Missing = append(e.Missing, fmt.Sprintf("%s %v", name, p.Shape))
			return
		}
		dtype, shape, err := kernels.Describe(src, name)
		switch {
		case err != nil:
			e.Wrong = append(e.Wrong, err.Error())
		case len(p.Shape) == 2 && slices.Equal(shape, []int{p.Shape[0], p.Shape[1], 1, 1}):
			bound.shapes[name] = p.Shape
		case len(p.Shape) == 4 && p.Shape[2] == 1 && p.Shape[3] == 1 && slices.Equal(shape, p.Shape[:2]):
			bound.shapes[name] = p.Shape
		case !slices.Equal(shape, p.Shape):
			e.Wrong = append(e.Wrong, fmt.Sprintf("%s %v, want %v", name, shape, p.Shape))
		}
		p.name, p.dtype = name, dtype
	})
	for _, name := range names {
		if !claimed[name] && !slices.Contains(ignore, name) {
			e.Unclaimed = append(e.Unclaimed, name)
		}
	}
	if len(e.Missing)+len(e.Wrong)+len(e.Unclaimed) > 0 {
		slices.Sort(e.Missing)
		slices.Sort(e.Wrong)
		return nil, &e
	}
	return bound, nil
}

// boundSource gives some tensors the shape that the module declares.
type boundSource struct {
	kernels.Source
	shapes map[string][]int
}

func (s *boundSource) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	if want, ok := s.shapes[name]; ok {
		shape = want
	}
	return dtype, shape, data, err
}

// Describe implements kernels.Describer.
func (s *boundSource) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, err := kernels.Describe(s.Source, name)
	if want, ok := s.shapes[name]; ok {
		shape = want
	}
	return dtype, shape, err
}

// Release implements kernels.Releaser where the underlying source does.
func (s *boundSource) Release() error {
	if r, ok := s.Source.(kernels.Releaser); ok {
		return r.Release()
	}
	return nil
}
