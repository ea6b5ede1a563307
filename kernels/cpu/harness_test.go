package cpu

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// rawBytes views numbers as a source or a caller hands them over.
func rawBytes[T float32 | int32 | uint16](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(x[0])))
}

// memorySource is a kernels.Source in memory.
type memorySource struct {
	tensors  map[string]memoryTensor
	released int
}

type memoryTensor struct {
	dtype kernels.DType
	shape []int
	data  []byte
}

func (s *memorySource) Names() []string {
	var names []string
	for n := range s.tensors {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

func (s *memorySource) Tensor(name string) (kernels.DType, []int, []byte, error) {
	t, ok := s.tensors[name]
	if !ok {
		return 0, nil, nil, fmt.Errorf("no tensor of that name")
	}
	return t.dtype, t.shape, t.data, nil
}

func (s *memorySource) Describe(name string) (kernels.DType, []int, error) {
	dtype, shape, _, err := s.Tensor(name)
	return dtype, shape, err
}

func (s *memorySource) Storage(string) kernels.Storage { return kernels.Made }

func (s *memorySource) Release() error { s.released++; return nil }

// planner builds plans and their weights.
type planner struct {
	plan   kernels.Plan
	source memorySource
}

func (p *planner) value(role kernels.Role, dtype kernels.DType, name string, shape ...int) kernels.Value {
	p.plan.Tensors = append(p.plan.Tensors, kernels.Tensor{Name: name, Role: role, DType: dtype, Shape: shape})
	return kernels.Value(len(p.plan.Tensors) - 1)
}

func (p *planner) weight(name string, data []float32, dtype kernels.DType, shape ...int) kernels.Value {
	if p.source.tensors == nil {
		p.source.tensors = map[string]memoryTensor{}
	}
	raw := rawBytes(slices.Clone(data))
	if dtype != kernels.F32 {
		narrow := make([]uint16, len(data))
		for i, x := range data {
			narrow[i] = kernels.ToBF16(x)
			if dtype == kernels.F16 {
				narrow[i] = kernels.ToF16(x)
			}
		}
		raw = rawBytes(narrow)
	}
	p.source.tensors[name] = memoryTensor{dtype, shape, raw}
	return p.value(kernels.Weight, dtype, name, shape...)
}

// node appends a node whose outputs have the role given.
func (p *planner) node(t testing.TB, path string, s kernels.Spec, role kernels.Role, in ...kernels.Value) []kernels.Value {
	t.Helper()
	n := kernels.Node{Spec: s, Path: path, In: in}
	outs, err := s.Infer(p.plan.Inputs(n))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outs {
		n.Out = append(n.Out, p.value(role, o.DType, fmt.Sprintf("%s.out%d", path, i), o.Shape...))
	}
	p.plan.Nodes = append(p.plan.Nodes, n)
	return n.Out
}

func newTestDevice(t testing.TB, o Options) *Device {
	t.Helper()
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (p *planner) compile(t testing.TB, d *Device) kernels.Program {
	t.Helper()
	w, err := d.NewWeights(&p.source)
	if err != nil {
		t.Fatal(err)
	}
	prog, err := d.Compile(&p.plan, w, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := prog.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return prog
}

func write[T float32 | int32](t testing.TB, p kernels.Program, v kernels.Value, x []T) {
	t.Helper()
	if err := p.Write(v, rawBytes(x)); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, p kernels.Program, v kernels.Value, n int) []float32 {
	t.Helper()
	x := make([]float32, n)
	if err := p.Read(context.Background(), v, rawBytes(x)); err != nil {
		t.Fatal(err)
	}
	return x
}

func run(t testing.TB, p kernels.Program) {
	t.Helper()
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// operand is an input of an operation under test, or all of an output.
type operand struct {
	shape []int
	x     []float32
	ids   []int32
	dtype kernels.DType // of a weight; 0: a value that the caller writes
}

var rng = rand.New(rand.NewPCG(7, 11))

func random(scale, offset float64, shape ...int) operand {
	x := make([]float32, kernels.Elements(shape))
	for i := range x {
		x[i] = float32(rng.NormFloat64()*scale + offset)
	}
	return operand{shape: shape, x: x}
}

// weight returns the operand as a weight, rounded to its type.
func (o operand) weight(dtype kernels.DType) operand {
	o.dtype = dtype
	for i, x := range o.x {
		switch dtype {
		case kernels.F16:
			o.x[i] = kernels.FromF16(kernels.ToF16(x))
		case kernels.BF16:
			o.x[i] = kernels.FromBF16(kernels.ToBF16(x))
		}
	}
	return o
}

// compute runs one operation on every variant, with more workers than one, and compares each output with want, computed
// in float64, to within tolerance · the largest magnitude wanted.
func compute(t *testing.T, name string, s kernels.Spec, in []operand, tolerance float64, want ...[]float64) {
	t.Helper()
	for _, v := range variants() {
		d := newTestDevice(t, Options{Variant: v.name, Threads: 3})
		var p planner
		var values []kernels.Value
		for i, o := range in {
			switch {
			case o.dtype != 0:
				values = append(values, p.weight(fmt.Sprint("w", i), o.x, o.dtype, o.shape...))
			case o.ids != nil:
				values = append(values, p.value(kernels.Request, kernels.I32, "ids", o.shape...))
			default:
				values = append(values, p.value(kernels.Step, kernels.F32, fmt.Sprint("x", i), o.shape...))
			}
		}
		outs := p.node(t, name, s, kernels.Result, values...)
		prog := p.compile(t, d)
		for i, o := range in {
			switch {
			case o.dtype != 0:
			case o.ids != nil:
				write(t, prog, values[i], o.ids)
			default:
				write(t, prog, values[i], o.x)
			}
		}
		run(t, prog)
		for i, o := range outs {
			got := read(t, prog, o, len(want[i]))
			largest, worst := 0.0, 0.0
			for _, w := range want[i] {
				largest = max(largest, math.Abs(w))
			}
			for k, w := range want[i] {
				if !agree(got[k], w, tolerance*largest) {
					t.Fatalf("%s %s: output %d, element %d is %g, want %g ± %g", v.name, name, i, k, got[k], w, tolerance*largest)
				}
				worst = max(worst, math.Abs(float64(got[k])-w))
			}
			t.Logf("%s %s: %.0f %% of the budget", v.name, name, 100*worst/max(tolerance*largest, 1e-300))
		}
	}
}

// eps32 is half the distance from 1 to the next float32.
const eps32 = 0x1p-24

func f64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func mapped(x []float32, f func(float64) float64) []float64 {
	y := f64(x)
	for i, v := range y {
		y[i] = f(v)
	}
	return y
}

func siluTrue(x float64) float64 { return x / (1 + math.Exp(-x)) }

func filled(n int, v float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = v
	}
	return x
}
