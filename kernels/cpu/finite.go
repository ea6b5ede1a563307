package cpu

import (
	"context"
	"math"
	"runtime/debug"

	"github.com/goxl/goxl/kernels"
)

// Finite implements kernels.Program. It computes the last run again from the inputs that run began with, and looks at
// every output; states, results and what callers wrote since stay as they are.
func (p *program) Finite(ctx context.Context) error {
	if err := p.Open(); err != nil || !p.ran {
		return err
	}
	if err := p.device.engine.LockContext(ctx); err != nil {
		return err
	}
	defer p.device.engine.Unlock()
	now := append([]float32(nil), p.memory...)
	defer copy(p.memory, now)
	copy(p.memory, p.before)
	if err := p.bind(ctx); err != nil {
		return err
	}
	defer p.unbind()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // as in workers.work
	for i, n := range p.plan.Nodes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.compute(i); err != nil {
			return err
		}
		for _, v := range n.Out {
			if at, ok := nonFinite(p.values[v].f32); ok {
				return kernels.NotFinitef("%s (%T): element %d of the output is %g", n.Path, n.Spec, at, p.values[v].f32[at])
			}
		}
	}
	return nil
}

// nonFinite finds the first NaN or infinity.
func nonFinite(x []float32) (at int, found bool) {
	const exponent = 0x7f800000
	for i, v := range x {
		if math.Float32bits(v)&exponent == exponent {
			return i, true
		}
	}
	return 0, false
}

// AsyncFinite implements kernels.Program: the CPU does not look at what it computes.
func (p *program) AsyncFinite() bool { return false }

// NonFinite implements kernels.Program.
func (p *program) NonFinite() bool { return false }

// Sync implements kernels.Program. There is nothing to wait for: a run has ended when Run returns.
func (p *program) Sync(context.Context) (bool, error) { return false, p.Open() }

var _ kernels.Program = (*program)(nil)
