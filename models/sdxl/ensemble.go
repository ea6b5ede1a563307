package sdxl

import (
	"context"
	"time"
)

// Ensemble draws with base up to the share split of the steps, in (0, 1), and with refiner from there, which gets the
// same request. Where few steps leave none to one of the two, that one passes its latents on, the base its noise, as in
// diffusers; Warnings tells.
func Ensemble(ctx context.Context, base, refiner *Pipeline, r Request, split float64) (*Result, error) {
	if !(split > 0 && split < 1) {
		return nil, &RequestError{Field: "denoising_end", Value: split, Allowed: "above 0 and below 1"}
	}
	first, second := r, r
	first.DenoisingEnd, first.LatentsOnly = split, true
	second.DenoisingStart, second.DenoisingEnd = split, r.DenoisingEnd
	total, err := ensembleSteps(base, refiner, first, second)
	if err != nil {
		return nil, err
	}
	steps := 0
	if r.Progress != nil {
		started := time.Now()
		report := func(p Progress) {
			done := steps + p.Step
			elapsed := time.Since(started)
			r.Progress(Progress{Step: done, Steps: total, Elapsed: elapsed, Left: elapsed / time.Duration(done) * time.Duration(total-done)})
		}
		first.Progress, second.Progress = report, report
	}
	draft, err := firstHalf(ctx, base, refiner, first, second)
	if err != nil {
		return nil, err
	}
	steps = draft.Steps
	second.ImageLatents, second.Latents = draft.Latents, nil
	if r.OnLatents != nil {
		second.OnLatents = func(step int, x *Latents) { r.OnLatents(steps+step, x) }
	}
	result, err := refiner.Refine(ctx, second)
	if err != nil {
		return nil, err
	}
	result.Steps += steps
	result.Warnings = append(draft.Warnings, result.Warnings...)
	return result, nil
}

// firstHalf draws with base, once there is memory for both halves.
func firstHalf(ctx context.Context, base, refiner *Pipeline, first, second Request) (*Result, error) {
	run, err := base.Start(ctx, first)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if err := admitRefiner(base, refiner, first, second); err != nil {
		return nil, err
	}
	return run.all(ctx)
}

// admitRefiner is admit for the second half, while base, which is busy with the first, has computed nothing but the
// text. Other faults of the request are Refine's to report. A refiner that was opened by itself may be busy with
// another image, whose caller may wait for base: then nothing is checked here, and Refine does it in its turn.
func admitRefiner(base, refiner *Pipeline, first, second Request) error {
	if _, _, err := base.prepare(&first, false); err != nil {
		return err
	}
	second.ImageLatents, second.Latents = base.draftOf(first), nil
	size, schedule, err := refiner.prepare(&second, true)
	if err != nil {
		return nil
	}
	if refiner.busy != base.busy {
		select {
		case <-refiner.busy:
			defer func() { refiner.busy <- struct{}{} }()
		default:
			return nil
		}
	}
	return refiner.admit(&second, refiner.shape(&second, size, schedule), true)
}

// ensembleSteps checks both halves and counts their evaluations.
func ensembleSteps(base, refiner *Pipeline, first, second Request) (int, error) {
	_, a, err := base.prepare(&first, false)
	if err != nil {
		return 0, err
	}
	second.ImageLatents, second.Latents = base.draftOf(first), nil
	_, b, err := refiner.prepare(&second, true)
	if err != nil {
		return 0, err
	}
	return len(a.Steps) + len(b.Steps), nil
}

// draftOf is zeros of the shape that a checked request's latents will have.
func (p *Pipeline) draftOf(r Request) *Latents {
	f := p.vae.Config.ScaleFactor()
	return newLatents([4]int{r.Count, p.unet.config.InChannels, r.Height / f, r.Width / f})
}
