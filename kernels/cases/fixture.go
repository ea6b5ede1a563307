package cases

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/goxl/goxl/kernels"
)

// source is a checkpoint in memory.
type source map[string]struct {
	kernels.Tensor
	data []byte
}

// Names implements kernels.Source.
func (s source) Names() []string {
	names := make([]string, 0, len(s))
	for name := range s {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Describe implements kernels.Source.
func (s source) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, _, err := s.Tensor(name)
	return dtype, shape, err
}

// Storage implements kernels.Source.
func (s source) Storage(string) kernels.Storage { return kernels.Made }

// Release implements kernels.Source.
func (s source) Release() error { return nil }

// Tensor implements kernels.Source.
func (s source) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t, ok := s[name]
	if !ok {
		return 0, nil, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, slices.Clone(t.Shape), t.data, nil
}

// Fixture is a plan around one case, and its program once it is compiled. Sentinels, States that no node touches, lie between
// its values. It is for one goroutine.
type Fixture struct {
	Plan    kernels.Plan
	Program kernels.Program // nil before Compile
	In, Out []kernels.Value // of the case

	of        Case
	data      [][]byte // of In
	source    source
	weights   kernels.Weights // nil if there are none
	sentinels []kernels.Value
}

// sentinel is what the sentinels hold.
var sentinel = bytes.Repeat([]byte{0xde, 0xc0, 0xad, 0x0b}, 67)

// NewFixture returns an empty plan for a case whose inputs hold data, as Operands returns it.
func NewFixture(c Case, data [][]byte) *Fixture {
	return &Fixture{of: c, data: data, source: source{}}
}

// Put adds a tensor to the plan.
func (f *Fixture) Put(t kernels.Tensor) kernels.Value {
	f.Plan.Tensors = append(f.Plan.Tensors, t)
	return kernels.Value(len(f.Plan.Tensors) - 1)
}

// Guard adds a sentinel.
func (f *Fixture) Guard() {
	f.sentinels = append(f.sentinels,
		f.Put(kernels.Tensor{Name: "sentinel", Role: kernels.State, DType: kernels.F32, Shape: []int{len(sentinel) / 4}}))
}

// Input adds the next input of the case, and its content to the checkpoint if it is a weight.
func (f *Fixture) Input() kernels.Value {
	k := len(f.In)
	t := f.of.In[k]
	if t.Role == kernels.Weight {
		t.Name = fmt.Sprintf("%s.%d.%s", f.of.Name, k, t.Name)
		f.source[t.Name] = struct {
			kernels.Tensor
			data []byte
		}{t, f.data[k]}
	}
	v := f.Put(t)
	f.In = append(f.In, v)
	return v
}

// Compile makes the program of the plan, which has at least one sentinel, and writes the inputs and the sentinels. After an error
// the fixture is closed.
func (f *Fixture) Compile(d kernels.Device, precision kernels.DType) (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := f.Plan.Validate(); err != nil {
		return err
	}
	if len(f.source) > 0 {
		if f.weights, err = d.NewWeights(f.source); err != nil {
			return err
		}
	}
	if f.Program, err = d.Compile(&f.Plan, f.weights, kernels.Options{Precision: precision}); err != nil {
		return err
	}
	for _, v := range f.sentinels {
		if err := f.Program.Write(v, sentinel); err != nil {
			return err
		}
	}
	return f.Write()
}

// Compile returns the compiled plan of one node, between sentinels, with data written as its inputs.
func (c Case) Compile(d kernels.Device, precision kernels.DType, data [][]byte) (*Fixture, error) {
	outs, err := c.Spec.Infer(c.In)
	if err != nil {
		return nil, err
	}
	f := NewFixture(c, data)
	f.Guard()
	for range c.In {
		f.Input()
	}
	f.Guard()
	for k, t := range outs {
		if c.Into != nil {
			f.Out = append(f.Out, f.In[c.Into[k]])
			continue
		}
		t.Name, t.Role = fmt.Sprintf("output %d", k), kernels.Result
		f.Out = append(f.Out, f.Put(t))
	}
	f.Guard()
	f.Plan.Nodes = []kernels.Node{{Spec: c.Spec, Path: c.Name, In: f.In, Out: f.Out}}
	return f, f.Compile(d, precision)
}

// Write sets every input that is not a weight.
func (f *Fixture) Write() error {
	for k, v := range f.In {
		if f.Plan.Tensors[v].Role == kernels.Weight {
			continue
		}
		if err := f.Program.Write(v, f.data[k]); err != nil {
			return fmt.Errorf("write %v: %w", f.Plan.Tensors[v], err)
		}
	}
	return nil
}

// margin is room around a destination that Read must leave alone.
const margin = 64

// Read returns a value's content, pixels as their bytes' values, and an error if Read wrote outside its destination.
func (f *Fixture) Read(ctx context.Context, v kernels.Value) ([]float32, error) {
	t := f.Plan.Tensors[v]
	words := int(t.Bytes()+3) / 4
	room := make([]float32, words+2*margin)
	const canary = -1.2345678e-21
	for i := range margin {
		room[i], room[len(room)-1-i] = canary, canary
	}
	values := room[margin : margin+words : margin+words]
	content := Bytes(values)[:t.Bytes()]
	if err := f.Program.Read(ctx, v, content); err != nil {
		return nil, fmt.Errorf("read %v: %w", t, err)
	}
	for i := range margin {
		if room[i] != canary || room[len(room)-1-i] != canary {
			return nil, fmt.Errorf("reading %v wrote outside of its %d bytes", t, t.Bytes())
		}
	}
	if t.DType == kernels.U8 {
		values = make([]float32, len(content))
		for i, x := range content {
			values[i] = float32(x)
		}
	}
	return values, nil
}

// Wait returns when the last run has ended; the sentinel is the cheapest value to read.
func (f *Fixture) Wait(ctx context.Context) error {
	return f.Program.Read(ctx, f.sentinels[0], make([]byte, len(sentinel)))
}

// Untouched checks the sentinels, and the States that the node only reads.
func (f *Fixture) Untouched(ctx context.Context) error {
	for i, v := range f.sentinels {
		got, err := f.Read(ctx, v)
		if err != nil {
			return err
		}
		if !bytes.Equal(Bytes(got), sentinel) {
			return fmt.Errorf("the run wrote over sentinel %d (before the inputs, before the outputs, after them)", i)
		}
	}
	for k, v := range f.In {
		if f.Plan.Tensors[v].Role != kernels.State || slices.Contains(f.Out, v) {
			continue
		}
		got, err := f.Read(ctx, v)
		if err != nil {
			return err
		}
		if !bytes.Equal(Bytes(got), f.data[k]) {
			return fmt.Errorf("the run changed its input %d, %v", k, f.Plan.Tensors[v])
		}
	}
	return nil
}

// Close frees the program and its weights.
func (f *Fixture) Close() error {
	var failed []error
	if f.Program != nil {
		failed = append(failed, f.Program.Close())
	}
	if f.weights != nil {
		failed = append(failed, f.weights.Close())
	}
	return errors.Join(failed...)
}
