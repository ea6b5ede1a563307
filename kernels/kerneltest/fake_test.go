package kerneltest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"testing"
	"unsafe"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
	"github.com/goxl/goxl/kernels/ref"
)

// nan is what a result must not be.
var nan = float32(math.NaN())

// fake is a device whose arithmetic is kernels/ref's, with faults on demand.
type fake struct {
	plain    bool                                              // float32 arithmetic, not float64
	result   func(run int, s kernels.Spec, outs [][]float32)   // spoils results
	compute  func(s kernels.Spec, in []ref.Tensor) [][]float32 // replaces the arithmetic where it returns some
	spoil    func(p *fakeProgram)                              // spoils memory after a run
	overread bool                                              // Read writes one byte too many
	blind    bool                                              // bad ids go unnoticed
	lost     bool                                              // Finite complains
	refuses  func(kernels.Spec) bool
	update   func(kernels.Source, *kernels.Update) kernels.Source // in place of ref.Updated
	open     int                                                  // programs and weights not closed
}

func (d *fake) Info() kernels.Info {
	return kernels.Info{Name: "fake", Precisions: []kernels.DType{kernels.F32}, HostMemory: true}
}

func (d *fake) Supports(s kernels.Spec, _ []kernels.Tensor) bool {
	return d.refuses == nil || !d.refuses(s)
}

func (d *fake) Memory() (kernels.Memory, error)            { return kernels.Memory{}, nil }
func (d *fake) PeakFLOPS(context.Context) (float64, error) { return 0, nil }
func (d *fake) Lost() error                                { return nil }
func (d *fake) Close() error                               { return nil }

type fakeWeights struct {
	kernels.Source
	first  kernels.Source // without updates
	d      *fake
	closed bool
}

func (w *fakeWeights) SetResident(context.Context, bool) error { return nil }
func (w *fakeWeights) Bytes() int64                            { return 0 }
func (w *fakeWeights) Close() error                            { w.d.open--; w.closed = true; return nil }

func (w *fakeWeights) Update(ctx context.Context, u *kernels.Update) error {
	if w.closed {
		return errors.New("closed")
	}
	if err := cmp.Or(ctx.Err(), u.Check(w.first)); err != nil {
		return err
	}
	for _, name := range u.Names() {
		if _, _, _, err := ref.Updated(w.first, u).Tensor(name); err != nil {
			return err
		}
	}
	if u != nil && u.Source != nil {
		if err := u.Source.Release(); err != nil {
			return err
		}
	}
	updated := ref.Updated
	if w.d.update != nil {
		updated = w.d.update
	}
	w.Source = updated(w.first, u)
	return nil
}

func (d *fake) NewWeights(src kernels.Source) (kernels.Weights, error) {
	d.open++
	return &fakeWeights{Source: src, first: src, d: d}, nil
}

// fakeProgram keeps every value widened.
type fakeProgram struct {
	d       *fake
	plan    *kernels.Plan
	weights *fakeWeights
	values  []ref.Tensor
	runs    int
}

func (d *fake) Compile(p *kernels.Plan, w kernels.Weights, _ kernels.Options) (kernels.Program, error) {
	f := &fakeProgram{d: d, plan: p}
	f.weights, _ = w.(*fakeWeights)
	for _, t := range p.Tensors {
		v := ref.Tensor{Shape: t.Shape}
		switch t.DType {
		case kernels.I32:
			v.I = make([]int32, t.Len())
		case kernels.U8:
			v.B = make([]uint8, t.Len())
		default:
			v.F = make([]float32, t.Len())
		}
		f.values = append(f.values, v)
	}
	if err := f.load(); err != nil {
		return nil, err
	}
	d.open++
	return f, nil
}

// load reads the weights.
func (p *fakeProgram) load() error {
	for v, t := range p.plan.Tensors {
		if t.Role != kernels.Weight {
			continue
		}
		dtype, shape, data, err := p.weights.Tensor(t.Name)
		if err != nil || dtype != t.DType || kernels.Elements(shape) != t.Len() {
			return fmt.Errorf("weight %v: %v", t, err)
		}
		widen(p.values[v].F, dtype, data)
	}
	return nil
}

func widen(dst []float32, dtype kernels.DType, data []byte) {
	for i := range dst {
		switch dtype {
		case kernels.F32:
			dst[i] = *(*float32)(unsafe.Pointer(&data[4*i]))
		case kernels.F16:
			dst[i] = kernels.FromF16(uint16(data[2*i]) | uint16(data[2*i+1])<<8)
		case kernels.BF16:
			dst[i] = kernels.FromBF16(uint16(data[2*i]) | uint16(data[2*i+1])<<8)
		}
	}
}

// memory is the dense content of a value.
func (p *fakeProgram) memory(v kernels.Value) []byte {
	switch x := p.values[v]; {
	case x.I != nil:
		return cases.Bytes(x.I)
	case x.B != nil:
		return x.B
	}
	return cases.Bytes(p.values[v].F)
}

func (p *fakeProgram) Write(v kernels.Value, data []byte) error {
	if copy(p.memory(v), data) != len(data) {
		return errors.New("length")
	}
	return nil
}

func (p *fakeProgram) CopyFrom(kernels.Value, kernels.Program, kernels.Value) error {
	return errors.New("not needed here")
}

func (p *fakeProgram) Run(context.Context) error {
	p.runs++
	if err := p.load(); err != nil {
		return err
	}
	for _, n := range p.plan.Nodes {
		in := make([]ref.Tensor, len(n.In))
		for k, v := range n.In {
			in[k] = p.values[v]
		}
		outs, err := p.evaluate(n, in)
		if err != nil {
			if p.d.blind {
				continue
			}
			return err
		}
		if p.d.result != nil {
			p.d.result(p.runs, n.Spec, outs)
		}
		for k, v := range n.Out {
			copy(p.values[v].F, outs[k])
			for i := range p.values[v].B {
				p.values[v].B[i] = uint8(outs[k][i])
			}
		}
	}
	if p.d.spoil != nil {
		p.d.spoil(p)
	}
	return nil
}

func (p *fakeProgram) evaluate(n kernels.Node, in []ref.Tensor) ([][]float32, error) {
	if p.d.compute != nil {
		if outs := p.d.compute(n.Spec, in); outs != nil {
			return outs, nil
		}
	}
	outs := make([][]float32, len(n.Out))
	if p.d.plain {
		for k := range outs {
			y, err := ref.Eval32(n.Spec, in, k, nil)
			if err != nil {
				return nil, err
			}
			outs[k] = y
		}
		return outs, nil
	}
	tensors, err := ref.Run(n.Spec, in)
	for k, t := range tensors {
		outs[k] = t.F
		for _, b := range t.B {
			outs[k] = append(outs[k], float32(b))
		}
	}
	return outs, err
}

func (p *fakeProgram) Read(_ context.Context, v kernels.Value, dst []byte) error {
	copy(dst, p.memory(v))
	if p.d.overread {
		*(*byte)(unsafe.Add(unsafe.Pointer(&dst[0]), len(dst))) ^= 1
	}
	return nil
}

func (p *fakeProgram) Finite(context.Context) error {
	if p.d.lost {
		return errors.New("node 0")
	}
	return nil
}

func (p *fakeProgram) AsyncFinite() bool                  { return false }
func (p *fakeProgram) NonFinite() bool                    { return false }
func (p *fakeProgram) Sync(context.Context) (bool, error) { return false, nil }
func (p *fakeProgram) Footprint() kernels.Footprint       { return kernels.Footprint{} }
func (p *fakeProgram) Bytes() int64                       { return 0 }

func (p *fakeProgram) Close() error { p.d.open--; return nil }

// recorder is a testing.TB that remembers what Run says.
type recorder struct {
	testing.TB
	errors, logs []string
}

func (r *recorder) Helper()                   {}
func (r *recorder) Errorf(f string, a ...any) { r.errors = append(r.errors, fmt.Sprintf(f, a...)) }
func (r *recorder) Logf(f string, a ...any)   { r.logs = append(r.logs, fmt.Sprintf(f, a...)) }
func (r *recorder) Fatal(a ...any)            { r.errors = append(r.errors, fmt.Sprint(a...)) }
