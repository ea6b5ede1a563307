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
	walk(reflect.ValueOf(module), "", visitor{param: func(name string, p *Param) { shapes[name] = p.Shape }})
	return shapes
}

// Parameters counts the numbers in a module tree.
func Parameters(module any) int64 {
	var n int64
	walk(reflect.ValueOf(module), "", visitor{param: func(_ string, p *Param) { n += int64(kernels.Elements(p.Shape)) }})
	return n
}

// visitor has the functions that walk calls; nil ones are not called.
type visitor struct {
	param   func(name string, p *Param)
	leftOut func(path string)            // a module that this configuration lacks
	list    func(path string, count int) // a list of modules, those with an index from count on are lacking
}

// walk visits the parameters of a module. Grammar: a struct field tagged `weight:"name"` is a *Param, a module or a
// slice of modules (whose index joins the path); a nil one is a part that this configuration lacks; fields without a
// tag are not visited.
func walk(v reflect.Value, path string, visit visitor) {
	if p, ok := v.Interface().(*Param); ok {
		if p != nil {
			visit.param(path, p)
		}
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(v.Elem(), path, visit)
		} else if visit.leftOut != nil {
			visit.leftOut(path)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), join(path, strconv.Itoa(i)), visit)
		}
		if visit.list != nil {
			visit.list(path, v.Len())
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
	LeftOut   []string // tensors of modules that the module's configuration leaves out
	Unclaimed []string // other tensors that no module has; alone an error where they are more than Claimed
	Claimed   int      // tensors that modules have
}

func (e *BindError) Error() string {
	var s strings.Builder
	unknown := "unknown tensors"
	if len(e.Unclaimed) > e.Claimed {
		unknown += fmt.Sprintf(", more than the %d that fit", e.Claimed)
	}
	for _, part := range []struct {
		what string
		list []string
	}{{"missing tensors", e.Missing}, {"wrong tensors", e.Wrong}, {"tensors of modules that the configuration leaves out", e.LeftOut}, {unknown, e.Unclaimed}} {
		if len(part.list) == 0 {
			continue
		}
		if s.Len() > 0 {
			s.WriteString("; ")
		}
		fmt.Fprintf(&s, "%d %s: %s", len(part.list), part.what, Shorten(part.list))
	}
	return s.String()
}

// Shorten lists the first of many names, enough to see what kind of model they are of: a UNet has 1680. A name that is
// too long is cut.
func Shorten(names []string) string {
	const most, longest = 8, 120
	var s strings.Builder
	for i, name := range names[:min(most, len(names))] {
		if i > 0 {
			s.WriteString(", ")
		}
		if len(name) > longest {
			name = strings.ToValidUTF8(name[:longest], "") + "…"
		}
		s.WriteString(name)
	}
	if len(names) > most {
		s.WriteString(", …")
	}
	return s.String()
}

// Name gives every parameter of the module its name, without a source: a graph that is built of it then can be planned,
// to count its operations, and not be compiled.
func Name[M any](module M) M {
	walk(reflect.ValueOf(module), "", visitor{
		param:   func(name string, p *Param) { p.name, p.dtype = name, kernels.F16 },
		leftOut: func(string) {},
		list:    func(string, int) {},
	})
	return module
}

// Bind gives every parameter of the module its tensor in src and returns the source to compile with. Missing and
// misshaped tensors, types other than those that a source gives, and tensors of modules that the configuration leaves
// out come back as one *BindError. Other tensors that no parameter claims are Bound.Unclaimed, unless they are more
// than those claimed: then the checkpoint is of another model. Names in ignore may be there unclaimed. A linear layer's
// weight stored as a 1×1 convolution is taken as the matrix it is.
func Bind(module any, src kernels.Source, ignore ...string) (*Bound, error) {
	bound := &Bound{Source: src, shapes: map[string][]int{}}
	var e BindError
	names := src.Names()
	claimed, leftOut := map[string]bool{}, map[string]int{}
	walk(reflect.ValueOf(module), "", visitor{
		param: func(name string, p *Param) {
			claimed[name] = true
			if _, found := slices.BinarySearch(names, name); !found {
				e.Missing = append(e.Missing, fmt.Sprintf("%s %v", name, p.Shape))
				return
			}
			e.Claimed++
			dtype, shape, err := src.Describe(name)
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
		},
		leftOut: func(path string) { leftOut[path] = -1 },
		list:    func(path string, count int) { leftOut[path] = count },
	})
	for _, name := range names {
		switch {
		case claimed[name], slices.Contains(ignore, name):
		case isLeftOut(name, leftOut):
			e.LeftOut = append(e.LeftOut, name)
		default:
			e.Unclaimed = append(e.Unclaimed, name)
		}
	}
	if len(e.Missing)+len(e.Wrong)+len(e.LeftOut) > 0 || len(e.Unclaimed) > e.Claimed {
		slices.Sort(e.Missing)
		slices.Sort(e.Wrong)
		return nil, &e
	}
	bound.Unclaimed = e.Unclaimed
	return bound, nil
}

// isLeftOut tells whether a tensor belongs to one of the modules that are left out: −1 for all of a path, or the first
// index of a list.
func isLeftOut(name string, leftOut map[string]int) bool {
	for i, c := range name {
		if c != '.' {
			continue
		}
		first, ok := leftOut[name[:i]]
		if !ok {
			continue
		}
		if first < 0 {
			return true
		}
		index, _, _ := strings.Cut(name[i+1:], ".")
		if n, err := strconv.ParseUint(index, 10, 64); err == nil && n >= uint64(first) {
			return true
		}
	}
	return false
}

// Bound is a checkpoint whose tensors fit a module; some have the shape that the module declares instead of their own.
type Bound struct {
	kernels.Source
	Unclaimed []string // tensors that the module does not have, sorted
	shapes    map[string][]int
}

// Tensor implements kernels.Source.
func (s *Bound) Tensor(name string) (kernels.DType, []int, []byte, error) {
	dtype, shape, data, err := s.Source.Tensor(name)
	if want, ok := s.shapes[name]; ok {
		shape = want
	}
	return dtype, shape, data, err
}

// Describe implements kernels.Source.
func (s *Bound) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, err := s.Source.Describe(name)
	if want, ok := s.shapes[name]; ok {
		shape = want
	}
	return dtype, shape, err
}
