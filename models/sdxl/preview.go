package sdxl

import (
	"context"
	"fmt"
	"image"

	"github.com/goxl/goxl/scheduler"
)

// PreviewMethod is how previews are made.
type PreviewMethod string

const (
	// PreviewAuto is TAESD where the model has one, as often as that takes no more than 5 % of a run's time, by what it
	// took before; until it first did, and where there is no memory for it, PreviewLatent2RGB.
	PreviewAuto PreviewMethod = "auto"
	// PreviewLatent2RGB is a linear map of the latents' channels, on the device, one pixel a latent: that of the model's
	// goxl.json (latent_rgb_factors and latent_rgb_factors_bias), or ComfyUI's for SDXL.
	PreviewLatent2RGB PreviewMethod = "latent2rgb"
	// PreviewByTAESD decodes x0 at the image's size by PreviewTAESD, or else TAESD, at every step that asks for it. A
	// preview waits for its step.
	PreviewByTAESD PreviewMethod = "taesd"
	// PreviewNone makes none: Request.Preview is ignored.
	PreviewNone PreviewMethod = "none"
)

// PreviewMethods lists them; they have the names that ComfyUI's --preview-method gives them.
func PreviewMethods() []PreviewMethod {
	return []PreviewMethod{PreviewAuto, PreviewLatent2RGB, PreviewByTAESD, PreviewNone}
}

// Preview shows images while they are made: those of x0 (pred_original_sample), the latents without noise that the UNet
// predicts at a step. The result is bit for bit what it is without. Options.PreviewMethod says how they are made.
type Preview struct {
	// Every is the number of steps from one preview to the next, counted as Progress.Step: 5 is after steps 5, 10 and so
	// on; 0 is 1. PreviewAuto may leave some out.
	Every int
	// Func is called with the step and with an image for each of Parameters.Images, which it may keep. The goroutine that
	// takes the steps calls it, on a device with a queue up to two steps later; the last ones come before the final images
	// are decoded. It must not call a model of the host.
	//
	// A step that overflows in fp16 may have a useless preview, or none by TAESD. Steps that are computed again have no
	// second one.
	Func func(step int, images []*image.NRGBA)

	before int // steps of the experts before, in an ensemble
}

// after is the preview of a run whose steps come after so many; nil stays nil.
func (p *Preview) after(steps int) *Preview {
	if p == nil {
		return nil
	}
	q := *p
	q.before += steps
	return &q
}

// checkPreview refuses previews that nobody sees.
func checkPreview(q *resolved) error {
	p := q.request.Preview
	switch {
	case p == nil:
		return nil
	case p.Func == nil:
		return bad("preview", "without a function", "one with a function to call")
	case p.Every < 0:
		return bad("preview", fmt.Sprintf("every %d steps", p.Every), "every 1 or more steps; 0 is 1")
	}
	return nil
}

// keepX0 is a step whose solver keeps x0 in one more history tensor, the last one.
func keepX0(step scheduler.Step) scheduler.Step {
	matrix := make([][]float64, 0, len(step.Matrix)+1)
	for _, row := range step.Matrix {
		matrix = append(matrix, append(row[:len(row):len(row)], 0))
	}
	last := make([]float64, len(matrix[0]))
	last[1] = 1
	step.Matrix = append(matrix, last)
	return step
}

// x0Name is the state that keepX0 writes.
func (r *Run) x0Name() string { return historyName(r.q.schedule.History) }

// shown is a preview that was begun.
type shown struct {
	step int
	*reading
}

// preview begins the preview of the step that was taken last, if there is to be one, and hands over those that are
// there. The run is live.
func (r *Run) preview(ctx context.Context) error {
	p := r.q.request.Preview
	if p == nil {
		return nil
	}
	if step := p.before + r.next; step%max(1, p.Every) == 0 {
		begun, err := r.beginPreview(ctx)
		if err != nil {
			return err
		}
		if begun == nil {
			return r.showPreviews(ctx, false)
		}
		r.shown = append(r.shown, shown{step, begun})
	}
	return r.showPreviews(ctx, false)
}

// showPreviews calls the request's function with the previews that are there, in order; all says to wait for those that
// are not.
func (r *Run) showPreviews(ctx context.Context, all bool) error {
	for len(r.shown) > 0 {
		first := r.shown[0]
		if all {
			if err := first.wait(ctx); err != nil {
				return err
			}
		}
		select {
		case <-first.done:
		default:
			return nil
		}
		r.shown = r.shown[1:]
		if first.err != nil {
			return first.err
		}
		if len(first.images) > 0 {
			r.q.request.Preview.Func(first.step, first.images)
		}
	}
	return nil
}
