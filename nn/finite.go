package nn

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// Check returns a [kernels.ErrNotFinite] if x, which the last run computed, is not finite, or, where the device looks
// for itself (AsyncFinite), if a run since the last Sync or Check wrote NaN or Inf. The error names the first node of
// the last run whose output was not finite. Other errors are the device's or the context's.
func (p *Program) Check(ctx context.Context, x []float32) error {
	nonFinite, err := p.Sync(ctx)
	if err != nil {
		return err
	}
	if !p.AsyncFinite() {
		nonFinite = slices.ContainsFunc(x, func(f float32) bool { return math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) })
	}
	if !nonFinite {
		return nil
	}
	if err := p.Finite(ctx); err != nil {
		return err
	}
	return kernels.NotFinitef("program %s: a result is not finite", p.key)
}

// Wider returns the precision in which to retry what overflows in the network's own: BF16, which has the range of
// float32, in place of F16, which ends at 65504. It returns false where there is none.
func (n *Network) Wider() (kernels.DType, bool) {
	offered := n.dev.Info().Precisions
	own := n.options.Precision
	if own == 0 {
		own = offered[0]
	}
	return kernels.BF16, own == kernels.F16 && slices.Contains(offered, kernels.BF16)
}

// OnOverflow sets the function that gets the error where the network's own precision overflowed, before anything is
// computed again in a wider one. It is set before the first program is compiled.
func (n *Network) OnOverflow(warn func(error)) { n.overflowed = warn }

// Overflowed calls the function of OnOverflow.
func (n *Network) Overflowed(err error) {
	if n.overflowed != nil {
		n.overflowed(err)
	}
}

// Evaluate runs a program once, compiled as Program does: write sets its inputs, and read reads its results and returns
// them for Check. A result that is not finite is retried in Wider's precision, if there is one, and the functions of
// taps are called again then.
func (n *Network) Evaluate(ctx context.Context, key string, build func(*Builder), write func(*Program) error, read func(*Program) ([]float32, error), taps ...Tap) error {
	once := func(precision kernels.DType) error {
		p, err := n.ProgramIn(precision, key, build, taps...)
		if err != nil {
			return err
		}
		if err := write(p); err != nil {
			return err
		}
		if _, err := p.Sync(ctx); err != nil { // what a cancelled run may have left
			return err
		}
		if err := p.Run(ctx); err != nil {
			return err
		}
		x, err := read(p)
		if err != nil {
			return err
		}
		return p.Check(ctx, x)
	}
	err := once(0)
	if !errors.Is(err, kernels.ErrNotFinite) {
		return err
	}
	wider, ok := n.Wider()
	if !ok {
		return err
	}
	n.Overflowed(err)
	return once(wider)
}
