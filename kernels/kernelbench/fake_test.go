package kernelbench

import (
	"context"
	"time"

	"github.com/goxl/goxl/kernels"
)

// fake is a device that takes time and computes nothing.
type fake struct {
	took func(kernels.Spec) time.Duration // by a node; nil is no time
	peak float64
	open int // programs and weights not closed
}

func (d *fake) Info() kernels.Info {
	return kernels.Info{Name: "fake", Precisions: []kernels.DType{kernels.F32}, PeakFLOPS: d.peak, HostMemory: true}
}

func (d *fake) Supports(kernels.Spec, []kernels.Tensor) bool { return true }

func (d *fake) Memory() (kernels.Memory, error)            { return kernels.Memory{}, nil }
func (d *fake) PeakFLOPS(context.Context) (float64, error) { return d.peak, nil }
func (d *fake) Lost() error                                { return nil }
func (d *fake) Close() error                               { return nil }

type fakeWeights struct {
	kernels.Source
	d *fake
}

func (w fakeWeights) SetResident(context.Context, bool) error       { return nil }
func (w fakeWeights) Update(context.Context, *kernels.Update) error { return nil }
func (w fakeWeights) Bytes() int64                                  { return 0 }
func (w fakeWeights) Close() error                                  { w.d.open--; return nil }

func (d *fake) NewWeights(src kernels.Source) (kernels.Weights, error) {
	d.open++
	return fakeWeights{src, d}, nil
}

type fakeProgram struct {
	d    *fake
	plan *kernels.Plan
}

func (d *fake) Compile(p *kernels.Plan, _ kernels.Weights, _ kernels.Options) (kernels.Program, error) {
	d.open++
	return &fakeProgram{d, p}, nil
}

func (p *fakeProgram) Run(context.Context) error {
	for _, n := range p.plan.Nodes {
		if p.d.took != nil {
			time.Sleep(p.d.took(n.Spec))
		}
	}
	return nil
}

func (p *fakeProgram) Write(kernels.Value, []byte) error                            { return nil }
func (p *fakeProgram) CopyFrom(kernels.Value, kernels.Program, kernels.Value) error { return nil }
func (p *fakeProgram) Read(context.Context, kernels.Value, []byte) error            { return nil }
func (p *fakeProgram) Finite(context.Context) error                                 { return nil }
func (p *fakeProgram) AsyncFinite() bool                                            { return false }
func (p *fakeProgram) NonFinite() bool                                              { return false }
func (p *fakeProgram) Sync(context.Context) (bool, error)                           { return false, nil }
func (p *fakeProgram) Footprint() kernels.Footprint                                 { return kernels.Footprint{} }
func (p *fakeProgram) Bytes() int64                                                 { return 0 }
func (p *fakeProgram) Close() error                                                 { p.d.open--; return nil }
