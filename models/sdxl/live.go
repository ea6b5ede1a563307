package sdxl

import (
	"context"
	"errors"
	"fmt"

	"github.com/goxl/goxl/nn"
)

// live reports whether the run's latents are in a program of the UNet's.
func (r *Run) live() bool { return r.m.host.liveRun(r.unet.Network) == r }

// activate makes the run the live one of its UNet: it parks the other, and loads its own latents and conditioning. Its
// caller has the right to compute.
func (r *Run) activate(ctx context.Context) error {
	if err := r.usable(); err != nil {
		return err
	}
	if r.live() {
		return r.catchUp(ctx)
	}
	network := r.unet.Network
	if err := r.m.host.park(ctx, network); err != nil {
		return err
	}
	return r.load(ctx)
}

// load compiles the step that comes next, gives it the conditioning, the latents and the history, and makes the run the
// live one. No other run is live.
func (r *Run) load(ctx context.Context) error {
	if err := r.m.adapt(ctx, r.adapters, map[string]*nn.Network{"unet": r.unet.Network}); err != nil {
		return err
	}
	if err := r.compile(ctx, r.shapeAt(r.at)); err != nil {
		return err
	}
	if err := r.program.SetFloats("x", r.x...); err != nil {
		return err
	}
	for i, h := range r.history {
		if err := r.program.SetFloats(historyName(i), h...); err != nil {
			return err
		}
	}
	r.m.host.setLive(r.unet.Network, r)
	return r.catchUp(ctx)
}

// compile makes the step of a shape the run's program, with everything in it but latents and history.
func (r *Run) compile(ctx context.Context, s shape) error {
	p, err := stepProgram(r.unet, s, r.retry.precision, r.q.request.Taps.UNet...)
	if err != nil {
		return err
	}
	if _, err := p.Sync(ctx); err != nil { // what a cancelled run may have left
		return err
	}
	scale := r.q.Guidance
	if r.at < len(r.q.guidance) {
		scale = r.q.guidance[r.at]
	}
	phase := r.conditioning.phase(r.at)
	if err := r.setInputs(p, s, phase, scale); err != nil {
		return err
	}
	if err := p.SetFloats("noise", make([]float32, r.elements())...); err != nil {
		return err
	}
	r.program, r.in, r.scale, r.phase = p, s, scale, phase
	return nil
}

// setInputs writes what the UNet reads at every step, for all sides.
func (r *Run) setInputs(p *nn.Program, s shape, phase int, scale float64) error {
	for _, side := range s.sides() {
		if err := setConditioning(r.unet, p, side, r.conditioning, phase, scale); err != nil {
			return err
		}
		if err := setImages(r.unet, p, side, r.conditioning); err != nil {
			return err
		}
		if err := r.setImageInputs(p, side); err != nil {
			return err
		}
		if err := setFeatures(p, side, r.features); err != nil {
			return err
		}
		if err := r.setFreeU(p, side); err != nil {
			return err
		}
	}
	return s.setNegativeRows(p)
}

// use switches to the program of another shape, as where guidance begins or ends within the run. Latents and history
// are copied from program to program.
func (r *Run) use(ctx context.Context, s shape) error {
	if s == r.in {
		return nil
	}
	if r.at == r.next { // else the run is computed again, and every step is looked at
		// NaN and Inf of earlier steps are found now, while their program is at hand.
		if _, err := r.latents(ctx); err != nil {
			return err
		}
	}
	from, in, scale, phase := r.program, r.in, r.scale, r.phase
	err := r.compile(ctx, s)
	if err == nil {
		err = r.copyStates(from)
	}
	if err != nil {
		r.program, r.in, r.scale, r.phase = from, in, scale, phase
		// The network keeps the last used program where memory is short: that has to be the one with the latents.
		_, kept := stepProgram(r.unet, in, r.retry.precision, r.q.request.Taps.UNet...)
		return errors.Join(err, kept)
	}
	return nil
}

// recondition writes what changes from step to step within a program: the prompts' embeddings, where another text begins
// to hold, and a scale of guidance that is embedded.
func (r *Run) recondition(phase int, guidance float64) error {
	for _, side := range r.in.sides() {
		if phase == r.phase {
			if err := setGuidanceEmbedding(r.unet, r.program, side, guidance); err != nil {
				return err
			}
		} else if err := setConditioning(r.unet, r.program, side, r.conditioning, phase, guidance); err != nil {
			return err
		}
	}
	r.phase, r.scale = phase, guidance
	return nil
}

// copyStates copies latents and history from another program.
func (r *Run) copyStates(from *nn.Program) error {
	for _, name := range r.states() {
		if err := r.program.CopyFrom(name, from, name); err != nil {
			return err
		}
	}
	return nil
}

// states are the names of latents and history.
func (r *Run) states() []string {
	names := []string{"x"}
	for i := range r.shape.history {
		names = append(names, historyName(i))
	}
	return names
}

// park takes latents and history out of the program. Its caller has the right to compute.
func (r *Run) park(ctx context.Context) error {
	x, err := r.latents(ctx)
	if err != nil {
		return err
	}
	r.x = channelsLast(x)
	for i := range r.history {
		if err := r.program.Floats(ctx, historyName(i), r.history[i]); err != nil {
			return fmt.Errorf("%s: %w", historyName(i), err)
		}
	}
	r.program = nil
	return nil
}

// usable returns why nothing can be had of the run any more, nil if it can.
func (r *Run) usable() error {
	if r.closed.Load() {
		return errors.New("sdxl: the run is closed")
	}
	return r.failed
}

// Close ends the run. A second call does nothing. It waits for nobody, and must not be called while another call of the
// run is under way.
func (r *Run) Close() {
	if r.closed.Swap(true) {
		return
	}
	for _, g := range r.controls {
		g.handle.release()
	}
	if err := r.adapters.release(); err != nil {
		r.m.options.Log.Warn("closing an adapter", "error", err)
	}
}
