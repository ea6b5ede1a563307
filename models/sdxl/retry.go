package sdxl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/goxl/goxl/kernels"
)

// retry is what it takes to run the steps of a run once more: in bf16 where they overflowed in fp16, or reading the
// latents after each, to find the one that went wrong.
type retry struct {
	precision kernels.DType // of the steps, 0 is the model's
	noise     *noise        // as it was before the first step
	given     []given
	checked   int // steps up to which the latents were seen to be finite
}

// given are latents that did not come from the steps, in the device's order.
type given struct {
	step int // before which they were set
	x    []float32
}

// at returns the latents that were given before a step, nil if none were.
func (r *retry) at(step int) []float32 {
	for _, g := range slices.Backward(r.given) {
		if g.step == step {
			return g.x
		}
	}
	return nil
}

// Latents waits for the steps that were taken and reads the latents [N, C, H, W], which are at the noise level of the
// next step: before the first one, noise times the schedule's InitNoiseSigma. Where they are not finite in fp16 the run
// is computed once more in bf16, from the first step on, so that it does not matter when that was found; what is not
// finite then is an error that names the step.
func (r *Run) Latents(ctx context.Context) (*Tensor, error) {
	slot, err := r.m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	return r.latents(ctx)
}

func (r *Run) latents(ctx context.Context) (*Tensor, error) {
	if err := r.usable(); err != nil {
		return nil, err
	}
	if r.at < r.next { // a cancelled call left it so
		if err := r.activate(ctx); err != nil {
			return nil, err
		}
	}
	if !r.live() {
		return channelsFirst(r.latentShape(), r.x), nil
	}
	x, err := r.readLatents(ctx)
	if errors.Is(err, kernels.ErrNotFinite) {
		if err = r.again(ctx, err); err == nil {
			x, err = r.readLatents(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// readLatents reads the latents of a live run and, if they or what came before are not finite, says where.
func (r *Run) readLatents(ctx context.Context) (*Tensor, error) {
	x := make([]float32, r.elements())
	if err := r.program.Floats(ctx, "x", x); err != nil {
		return nil, err
	}
	if r.at-r.retry.checked <= 1 || !r.program.AsyncFinite() { // it was the last step
		if err := r.program.Check(ctx, x); err != nil {
			return nil, err
		}
	} else if nonFinite, err := r.program.Sync(ctx); err != nil {
		return nil, err
	} else if nonFinite {
		return nil, kernels.NotFinitef("one of the steps %d to %d gave NaN or Inf", r.retry.checked+1, r.at)
	}
	r.retry.checked = r.at
	return channelsFirst(r.latentShape(), x), nil
}

// again takes the steps up to now once more, reading the latents after each, in a wider precision if there is one.
// cause is returned where that can find nothing new.
func (r *Run) again(ctx context.Context, cause error) error {
	if r.members != nil {
		return cause // each is computed alone then, as it would be without the others
	}
	if wider, ok := r.unet.Wider(); ok && r.retry.precision == 0 {
		r.unet.Overflowed(cause)
		r.retry.precision = wider
	} else if r.at-r.retry.checked <= 1 {
		return cause
	}
	// Until the first latents are loaded the run is parked with them, as it may be left if ctx ends.
	r.m.host.setLive(r.unet.Network, nil)
	r.at, r.retry.checked, r.noise = 0, 0, r.retry.noise.clone()
	r.x, r.history = r.retry.at(0), r.noHistory()
	return r.load(ctx)
}

// catchUp takes the steps of a live run that is computed again, up to the last one taken before, and looks at each.
func (r *Run) catchUp(ctx context.Context) error {
	for r.at < r.next {
		if err := r.advance(ctx); err != nil {
			return err
		}
		if _, err := r.readLatents(ctx); err != nil {
			return fmt.Errorf("step %d of %d: %w", r.at, len(r.q.schedule.Steps), err)
		}
		if x := r.retry.at(r.at); x != nil {
			if err := r.program.SetFloats("x", x...); err != nil {
				return err
			}
		}
	}
	return nil
}

// overflowed logs that a component is computed in a wider precision: for users when it is new, later at level debug.
func overflowed(log *slog.Logger, component string) func(error) {
	var logged atomic.Bool
	return func(err error) {
		level := slog.LevelWarn
		if logged.Swap(true) {
			level = slog.LevelDebug
		}
		log.Log(context.Background(), level, component+" overflows in fp16 and is computed again in bf16", "where", err)
	}
}
