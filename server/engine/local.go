package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/models/sdxl"
)

// sustained is the fraction of a device's peak that costs reckon with. Steps of the full-size model keep up 85 % of it
// on a CPU, and 43 to 53 % on an H100 (kernels/cuda/HARDWARE.md); what else takes time is in the rest.
const sustained = 0.4

// Local is an engine of this process.
type Local struct {
	base, refiner *sdxl.Model // the latter may be nil
	costs         Costs
}

// NewLocal returns the engine of models that share a host; refiner is nil if there is none. It measures the device's
// peak, where it can be measured and was not before, for the costs. The engine closes the models, and NewLocal does if it
// fails; the device stays open.
func NewLocal(ctx context.Context, base, refiner *sdxl.Model) (*Local, error) {
	l := &Local{base: base, refiner: refiner}
	peak, err := base.Host().Device().PeakFLOPS(ctx)
	if err == nil && peak > 0 {
		l.costs.FLOPS = sustained * peak
		l.costs.Base, err = base.Cost(sustained * peak)
		if err == nil && refiner != nil {
			l.costs.Refiner, err = refiner.Cost(sustained * peak)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Generate does a job.
func (l *Local) Generate(ctx context.Context, j Job) (*sdxl.Result, error) {
	if j.Upscale != nil {
		return l.base.Upscale(ctx, j.upscaleRequest())
	}
	if j.Model != Base && l.refiner == nil {
		return nil, fmt.Errorf("engine: a job for %q: there is no refiner", j.Model)
	}
	switch j.Model {
	case Base:
		return l.base.Generate(ctx, j.Request)
	case Refiner:
		return l.refiner.Generate(ctx, j.Request)
	case Ensemble:
		return sdxl.Ensemble(ctx, j.Request, sdxl.Expert{Model: l.base, DenoisingEnd: j.DenoisingEnd}, sdxl.Expert{Model: l.refiner})
	}
	return nil, fmt.Errorf("engine: a job for %q: must be for %s, %s or %s", j.Model, Base, Refiner, Ensemble)
}

// Costs are about how long the models take on the device; zero where its peak can't be measured.
func (l *Local) Costs() Costs { return l.costs }

// DeviceName is the device's.
func (l *Local) DeviceName() string { return l.base.Host().Device().Info().Name }

// Usage is the host's.
func (l *Local) Usage() (Usage, bool) {
	h := l.base.Host()
	m, err := h.Device().Memory()
	return Usage{m, h.Evictions()}, err == nil
}

// Lost is the device's.
func (l *Local) Lost() error { return l.base.Host().Device().Lost() }

// Close closes the models.
func (l *Local) Close() error {
	var err error
	if l.refiner != nil { // first: it may share the base's weights
		err = l.refiner.Close()
	}
	return errors.Join(err, l.base.Close())
}
