package kerneltest

import (
	"bytes"
	"context"
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

// Tensor implements kernels.Source.
func (s source) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t, ok := s[name]
	if !ok {
		return 0, nil, nil, fmt.Errorf("no tensor %q", name)
	}
	return t.DType, slices.Clone(t.Shape), t.data, nil
}

// fixture is a compiled plan of one node, with sentinels around its values.
type fixture struct {
	device    kernels.Device
	weights   kernels.Weights // nil if there are none
	program   kernels.Program
	plan      kernels.Plan
	in, out   []kernels.Value
	data      [][]byte // of in
	sentinels []kernels.Value
}

// sentinel is what the sentinels hold: states that no node touches.
var sentinel = bytes.Repeat([]byte{0xde, 0xc0, 0xad, 0x0b}, 67)

// compile builds the plan of a case and everything that it needs on the device, and writes the inputs.
func (c Case) compile(d kernels.Device, precision kernels.DType, data [][]byte) (b *fixture, err error) {
	b = &fixture{device: d, data: data}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w%s", err, b.closing())
		}
	}()
	put := func(t kernels.Tensor) kernels.Value {
		b.plan.Tensors = append(b.plan.Tensors, t)
		return kernels.Value(len(b.plan.Tensors) - 1)
	}
	guard := func() {
		b.sentinels = append(b.sentinels, put(kernels.Tensor{Name: "sentinel", Role: kernels.State, DType: kernels.F32, Shape: []int{67}}))
	}
	outs, err := c.Spec.Infer(c.In)
	if err != nil {
		return b, err
	}
	src := source{}
	guard()
	for k, t := range c.In {
		if t.Role == kernels.Weight {
			t.Name = fmt.Sprintf("%s.%d.%s", c.Name, k, t.Name)
			src[t.Name] = struct {
				kernels.Tensor
				data []byte
			}{t, data[k]}
		}
		b.in = append(b.in, put(t))
	}
	guard()
	for k, t := range outs {
		if c.Into != nil {
			b.out = append(b.out, b.in[c.Into[k]])
			continue
		}
		t.Name, t.Role = fmt.Sprintf("output %d", k), kernels.Result
		b.out = append(b.out, put(t))
	}
	guard()
	b.plan.Nodes = []kernels.Node{{Spec: c.Spec, Path: c.Name, In: b.in, Out: b.out}}
	if err := b.compile(d, src, precision); err != nil {
		return b, err
	}
	for _, v := range b.sentinels {
		if err := b.program.Write(v, sentinel); err != nil {
			return b, err
		}
	}
	return b, b.write()
}

// compile makes the program of the plan, with the weights if there are any.
func (b *fixture) compile(d kernels.Device, src source, precision kernels.DType) (err error) {
	if err := b.plan.Validate(); err != nil {
		return err
	}
	if len(src) > 0 {
		if b.weights, err = d.NewWeights(src); err != nil {
			return err
		}
	}
	b.program, err = d.Compile(&b.plan, b.weights, kernels.Options{Precision: precision})
	return err
}

// write sets every input that is not a weight.
func (b *fixture) write() error {
	for k, v := range b.in {
		if b.plan.Tensors[v].Role == kernels.Weight {
			continue
		}
		if err := b.program.Write(v, b.data[k]); err != nil {
			return fmt.Errorf("write %v: %w", b.plan.Tensors[v], err)
		}
	}
	return nil
}

// margin is room around a destination that Read must leave alone.
const margin = 64

// read returns a value's content, pixels as their bytes' values, and an error if Read wrote outside its destination.
func (b *fixture) read(ctx context.Context, v kernels.Value) ([]float32, error) {
	t := b.plan.Tensors[v]
	words := int(t.Bytes()+3) / 4
	room := make([]float32, words+2*margin)
	const canary = -1.2345678e-21
	for i := range margin {
		room[i], room[len(room)-1-i] = canary, canary
	}
	values := room[margin : margin+words : margin+words]
	content := bytesOf(values)[:t.Bytes()]
	if err := b.program.Read(ctx, v, content); err != nil {
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

// wait returns when the last run has ended; the sentinel is the cheapest value to read.
func (b *fixture) wait(ctx context.Context) error {
	return b.program.Read(ctx, b.sentinels[0], make([]byte, len(sentinel)))
}

// untouched checks the sentinels, and the States that the node only reads.
func (b *fixture) untouched(ctx context.Context) error {
	for i, v := range b.sentinels {
		got, err := b.read(ctx, v)
		if err != nil {
			return err
		}
		if !bytes.Equal(bytesOf(got), sentinel) {
			return fmt.Errorf("the run wrote over sentinel %d (before the inputs, before the outputs, after them)", i)
		}
	}
	for k, v := range b.in {
		if b.plan.Tensors[v].Role != kernels.State || slices.Contains(b.out, v) {
			continue
		}
		got, err := b.read(ctx, v)
		if err != nil {
			return err
		}
		if !bytes.Equal(bytesOf(got), b.data[k]) {
			return fmt.Errorf("the run changed its input %d, %v", k, b.plan.Tensors[v])
		}
	}
	return nil
}

// close frees the program and its weights.
func (b *fixture) close() error {
	var first error
	if b.program != nil {
		first = b.program.Close()
	}
	if b.weights != nil {
		if err := b.weights.Close(); first == nil {
			first = err
		}
	}
	return first
}

// closing is close for a path that fails already: words to append.
func (b *fixture) closing() string {
	if err := b.close(); err != nil {
		return "; and closing: " + err.Error()
	}
	return ""
}
