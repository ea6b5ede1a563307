package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/scheduler"
)

// Preview shows images while they are made: those of x0 (pred_original_sample), the latents without noise that the UNet
// predicts at a step. The result is bit for bit what it is without.
//
// A linear map of the latents' channels makes them on the device, one pixel a latent: that of the model's goxl.json
// (latent_rgb_factors and latent_rgb_factors_bias), or ComfyUI's for SDXL. Where the model has a TAESD, it decodes x0 at
// the image's size; then a preview waits for its step, and takes as long as decoding the final image.
type Preview struct {
	// Every is the number of steps from one preview to the next, counted as Progress.Step: 5 is after steps 5, 10 and so
	// on; 0 is 1.
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

// preparePreviews makes sure, before anything is computed but the text, that previews can be made.
func (r *Run) preparePreviews(ctx context.Context) error {
	if r.q.request.Preview == nil {
		return nil
	}
	if r.m.TAESD != nil {
		f := r.m.VAE.Config.ScaleFactor()
		return r.m.tile(true, false, Size{f * r.shape.height, f * r.shape.width})
	}
	var err error
	if r.rgb, err = r.m.rgbDecoder(); err != nil {
		return err
	}
	return r.rgb.prepare(ctx, r.shape)
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
		r.shown = append(r.shown, shown{step, begun})
	}
	return r.showPreviews(ctx, false)
}

// beginPreview makes the images of x0, or has the device do so.
func (r *Run) beginPreview(ctx context.Context) (*reading, error) {
	if r.rgb != nil {
		return r.rgb.start(ctx, r.in, r.program, r.x0Name())
	}
	done := &reading{done: make(chan struct{})}
	close(done.done)
	data := make([]float32, r.elements())
	if err := r.program.Floats(ctx, r.x0Name(), data); err != nil {
		return nil, fmt.Errorf("preview: %w", err)
	}
	x0 := channelsFirst(r.latentShape(), data)
	if checkFinite("x0", x0) != nil {
		return done, nil // the latents are not finite either, which is found where they are read
	}
	for i := range r.in.batch {
		img, err := r.m.decode(ctx, x0, i, false, func() {}, nil)
		if errors.Is(err, kernels.ErrNotFinite) {
			return &reading{done: done.done}, nil // the image itself may be fine
		}
		if err != nil {
			return nil, fmt.Errorf("preview: %w", err)
		}
		done.images = append(done.images, img)
	}
	return done, nil
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
