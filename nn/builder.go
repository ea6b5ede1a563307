package nn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/goxl/goxl/kernels"
)

// Value is a tensor of the graph being built.
type Value struct {
	id   kernels.Value
	node *gorgonia.Node
	t    kernels.Tensor
}

// Shape returns the logical shape. The caller must not change it.
func (v *Value) Shape() []int { return v.t.Shape }

// Dim returns dimension i; negative i counts from the end.
func (v *Value) Dim(i int) int {
	if i < 0 {
		i += len(v.t.Shape)
	}
	return v.t.Shape[i]
}

// Builder collects the operations of one graph. It is used by one goroutine.
type Builder struct {
	supports func(kernels.Spec, []kernels.Tensor) bool
	graph    *gorgonia.ExprGraph
	plan     kernels.Plan
	nodes    []*gorgonia.Node // by kernels.Value
	weights  map[*Param]*Value
	named    map[string]kernels.Value
	module   string // path of the module that used a weight last
	applied  []application
	taps     *tapping          // nil without
	aliases  map[string]string // outputs that are what a module's was replaced with: its path
	trace    func(any, *Value) // is given modules and what they computed; nil without
	attached map[any]any       // see Attach
}

// application is an operation as the expression graph should have it.
type application struct {
	node     *gorgonia.Node
	children []*gorgonia.Node
}

// Graph is what Build gives: the plan for devices, the names of its inputs and outputs, and the expression graph it
// came from.
type Graph struct {
	Plan    *kernels.Plan
	Named   map[string]kernels.Value // inputs and outputs
	Expr    *gorgonia.ExprGraph
	nodes   []*gorgonia.Node
	aliases map[string]string // see Builder
}

// buildError carries a failed operation from a module to Build.
type buildError struct{ error }

// Build runs f on a new builder. Operations that dev does not support are stated in their decomposed form; nil supports
// all. A panic of the builder's comes back as an error, others go on.
func Build(dev kernels.Device, f func(b *Builder)) (g *Graph, err error) {
	return buildTapped(dev, nil, f)
}

// buildTapped is Build for a program with taps; nil is none.
func buildTapped(dev kernels.Device, taps *tapping, f func(b *Builder)) (*Graph, error) {
	b := newBuilder(func(kernels.Spec, []kernels.Tensor) bool { return true })
	if dev != nil {
		b.supports = dev.Supports
	}
	b.taps = taps
	return b.build(f)
}

// isPlain is what a builder supports that undoes every fusion.
func isPlain(s kernels.Spec, _ []kernels.Tensor) bool { return s == plain(s) }

func newBuilder(supports func(kernels.Spec, []kernels.Tensor) bool) *Builder {
	return &Builder{
		supports: supports, graph: gorgonia.NewGraph(), weights: map[*Param]*Value{}, named: map[string]kernels.Value{},
		aliases: map[string]string{},
	}
}

func (b *Builder) build(f func(b *Builder)) (g *Graph, err error) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(buildError)
			if !ok {
				panic(r)
			}
			g, err = nil, e.error
		}
	}()
	f(b)
	if err := b.check(); err != nil {
		return nil, err
	}
	if err := b.plan.Validate(); err != nil {
		return nil, err
	}
	return &Graph{Plan: &b.plan, Named: b.named, Expr: b.graph, nodes: b.nodes, aliases: b.aliases}, nil
}

// check makes sure that gorgonia merged nothing: as many nodes as values, each with the children it was given.
func (b *Builder) check() error {
	if got, want := len(b.graph.AllNodes()), len(b.nodes); got != want {
		return fmt.Errorf("nn: the expression graph has %d nodes for %d values", got, want)
	}
	for _, a := range b.applied {
		it := b.graph.From(a.node.ID())
		for i, child := range a.children {
			if !it.Next() || it.Node().ID() != child.ID() {
				return fmt.Errorf("nn: %v: the expression graph has another child %d", a.node.Op(), i)
			}
		}
	}
	return nil
}

// Fail stops the build with an error.
func (b *Builder) Fail(format string, args ...any) {
	panic(buildError{fmt.Errorf(b.module+": "+format, args...)})
}

// add gives a tensor its number and its node.
func (b *Builder) add(t kernels.Tensor, node *gorgonia.Node) *Value {
	v := &Value{id: kernels.Value(len(b.plan.Tensors)), node: node, t: t}
	b.plan.Tensors = append(b.plan.Tensors, t)
	b.nodes = append(b.nodes, node)
	return v
}

// leaf adds a value that the graph does not compute.
func (b *Builder) leaf(t kernels.Tensor) *Value {
	node := gorgonia.NewTensor(b.graph, gorgoniaType(t.DType), len(t.Shape), gorgonia.WithShape(t.Shape...), gorgonia.WithName(t.Role.String()+" "+t.Name))
	return b.add(t, node)
}

// gorgoniaType is the element type of a tensor in the expression graph, where weights are float32.
func gorgoniaType(d kernels.DType) tensor.Dtype {
	switch d {
	case kernels.I32:
		return tensor.Int32
	case kernels.U8:
		return tensor.Uint8
	}
	return tensor.Float32
}

// Input declares a value that the caller writes under this name: a Request, a Step or a State.
func (b *Builder) Input(name string, role kernels.Role, dtype kernels.DType, shape ...int) *Value {
	if _, dup := b.named[name]; dup {
		b.Fail("input %q is declared twice", name)
	}
	v := b.leaf(kernels.Tensor{Name: name, Role: role, DType: dtype, Shape: slices.Clone(shape)})
	b.named[name] = v.id
	return v
}

// Attach gives a module, by its pointer, what it reads in this graph beside its operands; Attached returns it.
func (b *Builder) Attach(module, x any) {
	if b.attached == nil {
		b.attached = map[any]any{}
	}
	b.attached[module] = x
}

// Attached is what Attach gave a module, nil for nothing.
func (b *Builder) Attached(module any) any { return b.attached[module] }

// Output makes a computed value readable under this name. A value may have several.
func (b *Builder) Output(name string, v *Value) {
	_, dup := b.named[name]
	if _, given := b.aliases[name]; dup || given {
		b.Fail("output %q is declared twice", name)
	}
	if path, given := b.taps.replacement(v); given {
		b.aliases[name] = path
		return
	}
	t := &b.plan.Tensors[v.id]
	switch t.Role {
	case kernels.Temp:
		t.Role, t.Name = kernels.Result, name
	case kernels.Result:
	default:
		b.Fail("output %q is a %s, not a computed value", name, t.Role)
	}
	b.named[name] = v.id
}

// Assign makes a computed value the state's content after the run. Nothing may read the state after the operation that
// computes v.
func (b *Builder) Assign(state, v *Value) {
	if t := b.plan.Tensors[v.id]; t.Role != kernels.Temp {
		b.Fail("state %q is assigned %v, a %s, not a computed value that has no name", state.t.Name, t, t.Role)
	}
	for i := range b.plan.Nodes {
		for k, out := range b.plan.Nodes[i].Out {
			if out == v.id {
				b.plan.Nodes[i].Out[k] = state.id
				return
			}
		}
	}
	b.Fail("state %q is assigned a value that the graph does not compute", state.t.Name)
}

// weight returns the value of a bound parameter.
func (b *Builder) weight(p *Param) *Value {
	if p.name == "" {
		b.Fail("a weight of shape %v is used before its module was bound", p.Shape)
	}
	if i := strings.LastIndexByte(p.name, '.'); i > 0 {
		b.module = p.name[:i]
	}
	v, ok := b.weights[p]
	if !ok {
		v = b.leaf(kernels.Tensor{Name: p.name, Role: kernels.Weight, DType: p.dtype, Shape: p.Shape})
		b.weights[p] = v
	}
	return v
}

// apply states one operation.
func (b *Builder) apply(s kernels.Spec, in ...*Value) []*Value {
	path := b.module
	uses := func(v *Value) bool { return v.t.Role == kernels.Weight }
	if !slices.ContainsFunc(in, uses) && strings.Contains(path, ".") {
		path = path[:strings.LastIndexByte(path, '.')] // the module around the last layer
	}
	node := kernels.Node{Spec: s, Path: path}
	tensors := make([]kernels.Tensor, len(in))
	children := make([]*gorgonia.Node, len(in))
	for i, v := range in {
		node.In = append(node.In, v.id)
		tensors[i], children[i] = v.t, v.node
	}
	outs, err := s.Infer(tensors)
	if err != nil {
		panic(buildError{fmt.Errorf("%s: %w", path, err)})
	}
	values := make([]*Value, len(outs))
	for k, t := range outs {
		types := make([]hm.Type, 0, len(in)+1)
		for _, c := range children {
			types = append(types, c.Type())
		}
		types = append(types, gorgonia.TensorType{Dims: len(t.Shape), Of: gorgoniaType(t.DType)})
		o := &op{id: uint32(len(b.applied)), spec: s, out: k, in: tensors, typ: hm.NewFnType(types...), want: t.Shape}
		n, err := gorgonia.ApplyOp(o, children...)
		if err != nil {
			panic(buildError{fmt.Errorf("%s: %w", path, err)})
		}
		b.applied = append(b.applied, application{n, slices.Clone(children)}) // the graph keeps the slice itself
		values[k] = b.add(t, n)
		node.Out = append(node.Out, values[k].id)
	}
	b.plan.Nodes = append(b.plan.Nodes, node)
	return values
}

func (b *Builder) apply1(s kernels.Spec, in ...*Value) *Value { return b.apply(s, in...)[0] }

// fuses reports whether the device takes the spec as it is.
func (b *Builder) fuses(s kernels.Spec, in ...*Value) bool {
	tensors := make([]kernels.Tensor, len(in))
	for i, v := range in {
		tensors[i] = v.t
	}
	return b.supports(s, tensors)
}
