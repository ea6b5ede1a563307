package sdxl

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/nn"
)

// Prediction is what the UNet predicts for latents [N, C, H, W], of their shape: noise (epsilon), v, or the image
// (sample), by the scheduler's prediction_type.
type Prediction struct {
	Conditional   *Tensor
	Unconditional *Tensor // nil where the run has no guidance
}

// Guided is classifier-free guidance, unconditional + scale·(conditional − unconditional), without guidance_rescale. It
// is Conditional itself without the other.
func (p *Prediction) Guided(scale float64) *Tensor {
	if p.Unconditional == nil {
		return p.Conditional
	}
	out, g := p.Unconditional.Clone(), float32(scale)
	for i, u := range out.Data {
		out.Data[i] = u + g*(p.Conditional.Data[i]-u)
	}
	return out
}

// Predict evaluates the UNet alone, for sampling loops of one's own: on x [N, C, H, W] times inputScale
// (scale_model_input) at a timestep, which are Timestep and InputScale of the steps of Schedule; [scheduler.Step.Apply]
// is what follows. The prompts, and what ControlNets add, are the run's at its next step, or its last one when none is
// left; its latents are not touched. Unconditional predictions are those of a run with guidance, at any of its steps:
// its Guidance or one of GuidancePerStep is above 1. Several runs of a size have predictions of several prompts for the
// same x.
func (r *Run) Predict(ctx context.Context, x *Tensor, timestep, inputScale float64) (*Prediction, error) {
	want := r.latentShape()
	if err := checkLatents("latents", x, want[0], want[1], want[2], want[3]); err != nil {
		return nil, err
	}
	slot, err := r.m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	if err := r.usable(); err != nil {
		return nil, err
	}
	if r.shape.parts > 1 {
		return nil, bad("prompt", fmt.Sprintf("%d sub-prompts", r.shape.parts), "one, without AND, to be predicted for")
	}
	if err := r.m.host.park(ctx, r.unet.Network); err != nil {
		return nil, err
	}
	if err := r.m.adapt(ctx, r.adapters, map[string]*nn.Network{"unet": r.unet.Network}); err != nil {
		return nil, err
	}
	s := r.shape
	s.parts, s.perturbed = 0, ""
	s.residuals = r.shapeAt(r.next).residuals
	key, build := prediction(r.unet, s)
	n := r.elements()
	both := make([]float32, n*r.shape.unetBatch()/r.shape.batch)
	err = r.unet.Evaluate(ctx, key, build, func(p *nn.Program) error {
		if err := r.setInputs(p, s, r.conditioning.phase(r.next), r.q.Guidance); err != nil {
			return err
		}
		if err := p.SetFloats("x", channelsLast(x)...); err != nil {
			return err
		}
		if err := r.steerPrediction(ctx, p, s, x, timestep, inputScale); err != nil {
			return err
		}
		return s.setEvaluation(p, timestep, inputScale)
	}, func(p *nn.Program) ([]float32, error) { return both, p.Floats(ctx, "prediction", both) }, r.q.request.Taps.UNet...)
	if err != nil {
		return nil, err
	}
	if !r.shape.guided {
		return &Prediction{Conditional: channelsFirst(want, both)}, nil
	}
	return &Prediction{Conditional: channelsFirst(want, both[n:]), Unconditional: channelsFirst(want, both[:n])}, nil
}
