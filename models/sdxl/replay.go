package sdxl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/scheduler"
)

// replay is what it takes to go through the steps of a run once more: in a wider precision where they overflowed, or looking after each, to find the one that went wrong.
type replay struct {
	precision kernels.DType       // of the steps, 0 is the pipeline's
	random    scheduler.Generator // as it was before the first step
	given     []given
	looked    int // steps up to which the latents were seen to be finite
}

// given are latents that did not come from the steps, in the device's order.
type given struct {
	step int // before which they were set
	x    []float32
}

// give sets the latents that were given before the next step, if any were.
func (r *Run) give() error {
	for _, g := range slices.Backward(r.replay.given) {
		if g.step == r.next {
			return r.program.SetFloats("x", g.x...)
		}
	}
	return nil
}

// Latents waits for the steps that were taken and reads the latents. What is not finite in float16 is drawn once more in bfloat16, from the first step on, so that it does
// not matter when it was found; what is not finite then is an error that names the step.
func (r *Run) Latents(ctx context.Context) (*Latents, error) {
	x, err := r.look(ctx)
	if errors.Is(err, kernels.ErrNotFinite) {
		if err = r.again(ctx, err); err == nil {
			x, err = r.look(ctx)
		}
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// look reads the latents and, if they or what came before are not finite, tells where.
func (r *Run) look(ctx context.Context) (*Latents, error) {
	x := make([]float32, r.elements())
	if err := r.program.Floats(ctx, "x", x); err != nil {
		return nil, err
	}
	if r.next-r.replay.looked <= 1 || !r.program.AsyncFinite() { // it was the last step
		if err := r.program.Check(ctx, x); err != nil {
			return nil, err
		}
	} else if spoiled, err := r.program.Sync(ctx); err != nil {
		return nil, err
	} else if spoiled {
		return nil, kernels.NotFinitef("one of the steps %d to %d gave NaN or Inf", r.replay.looked+1, r.next)
	}
	r.replay.looked = r.next
	return channelsFirst(r.latentShape(), x), nil
}

// again takes the steps up to now once more, looking after each, in a wider precision if there is one. cause is returned where that can tell nothing new.
func (r *Run) again(ctx context.Context, cause error) error {
	if wider, ok := r.p.unet.Wider(); ok && r.replay.precision == 0 {
		r.p.unet.Overflowed(cause)
		r.replay.precision = wider
	} else if r.next-r.replay.looked <= 1 {
		return cause
	}
	steps := r.next
	r.next, r.replay.looked, *r.random = 0, 0, r.replay.random
	if err := r.load(ctx); err != nil {
		return err
	}
	for r.next < steps {
		if err := r.advance(ctx); err != nil {
			return err
		}
		if _, err := r.look(ctx); err != nil {
			return fmt.Errorf("step %d of %d: %w", r.next, len(r.schedule.Steps), err)
		}
		if err := r.give(); err != nil {
			return err
		}
	}
	return nil
}

// overflowed logs that a component is computed in a wider precision: for users when it is new, later for who looks closer.
func overflowed(log *slog.Logger, component string) func(error) {
	var said atomic.Bool
	return func(err error) {
		level := slog.LevelWarn
		if said.Swap(true) {
			level = slog.LevelDebug
		}
		log.Log(context.Background(), level, component+" overflows in fp16 and is computed again in bf16", "where", err)
	}
}
