package sdxl

import (
	"context"
	"slices"

	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// stepsOnHost reports whether a schedule has steps that are no affine map: dynamic thresholding needs a quantile over
// each image. Such a schedule has them throughout.
func stepsOnHost(s *scheduler.Schedule) bool {
	return slices.ContainsFunc(s.Steps, func(step scheduler.Step) bool { return step.Threshold != nil })
}

// advance takes a live run's latents one step on. Noise is not used up where that fails.
func (r *Run) advance(ctx context.Context) error {
	step, guidance := r.q.schedule.Steps[r.at], r.q.guidance[r.at]
	if r.q.keepsX0() {
		step = keepX0(step)
	}
	if err := r.use(ctx, r.shapeAt(r.at)); err != nil {
		return err
	}
	if phase := r.conditioning.phase(r.at); guidance != r.scale || phase != r.phase {
		if err := r.recondition(phase, guidance); err != nil {
			return err
		}
	}
	if r.in.residuals {
		err := r.steer(ctx, steering{
			shape: r.in, at: r.at, phase: r.phase, timestep: step.Timestep, inputScale: step.InputScale, into: r.program,
			latents: func(p *nn.Program) error { return p.CopyFrom("x", r.program, "x") },
		})
		if err != nil {
			return err
		}
	}
	generators := r.noise
	var noise []float32
	if step.Noise {
		generators = r.noise.clone()
		noise = generators.step(&step, r.latentShape())
	}
	put, err := r.heldLatents()
	if err != nil {
		return err
	}
	guided := stepGuidance{guidance * r.q.schedule.GuidanceFactor, r.q.GuidanceRescale, r.q.pagAt(r.at), r.conditioning.weights}
	if err := r.apply(ctx, step, noise, guided); err != nil {
		return err
	}
	if put != nil {
		// The latents have had the step, which must not be taken twice.
		if err := put.into(context.WithoutCancel(ctx), r.program); err != nil {
			return err
		}
	}
	r.noise = generators
	r.at++
	return nil
}

// apply evaluates the model and takes a step, on the device if it can.
func (r *Run) apply(ctx context.Context, step scheduler.Step, noise []float32, g stepGuidance) error {
	if step.Threshold != nil {
		return r.advanceOnHost(ctx, step, noise, g)
	}
	return r.in.advance(ctx, r.program, step, noise, g)
}

// advanceOnHost takes a step whose map the device can't compute. The device evaluates the model and keeps its guided
// prediction as one more history tensor, with all else as it was; so a call that ctx ends may be made again.
func (r *Run) advanceOnHost(ctx context.Context, step scheduler.Step, noise []float32, g stepGuidance) error {
	capture := step
	capture.Noise, capture.Threshold, capture.Clip = false, nil, 0
	capture.Matrix = captureMatrix(r.in.history)
	if err := r.in.advance(ctx, r.program, capture, nil, g); err != nil {
		return err
	}
	states := make([][]float32, 1+r.in.history) // x, the history, the prediction
	for i, name := range r.states() {
		states[i] = make([]float32, r.elements())
		if err := r.program.Floats(ctx, name, states[i]); err != nil {
			return err
		}
	}
	last := len(states) - 1
	image := r.elements() / r.in.batch
	for i := range r.in.batch {
		part := make([][]float32, len(states))
		for k, state := range states {
			part[k] = state[i*image : (i+1)*image]
		}
		var own []float32
		if noise != nil {
			own = noise[i*image : (i+1)*image]
		}
		if err := step.Apply(part[0], part[last], own, part[1:last]); err != nil {
			return err
		}
	}
	for i, name := range r.states()[:last] {
		if err := r.program.SetFloats(name, states[i]...); err != nil {
			return err
		}
	}
	return nil
}

// captureMatrix keeps latents and history as they are, but for the last history tensor, which becomes the prediction.
func captureMatrix(history int) [][]float64 {
	matrix := make([][]float64, 1+history)
	for i := range matrix {
		matrix[i] = make([]float64, 4+history)
		switch i {
		case 0:
			matrix[i][0] = 1
		case history:
			matrix[i][2] = 1
		default:
			matrix[i][4+i-1] = 1
		}
	}
	return matrix
}
