package sdxl

import (
	"context"
	"errors"
	"image"
	"slices"
	"sync/atomic"
	"time"

	"github.com/goxl/goxl/models/taesd"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// Run is the generation of one batch. [Model.Start] gives it; it must be closed, and is used by one goroutine
// at a time. It holds the right to compute during its calls alone, so that several runs may be stepped in turns.
type Run struct {
	m            *Model
	unet         *unet.Denoiser
	q            *resolved
	shape        shape // of the guided steps, if there are any
	conditioning *conditioning
	adapters     *adapterSet // nil for none
	controls     []*controlGroup
	features     []*Tensor // of T2I-Adapters
	noise        *noise
	next         int  // steps that were taken: the next one's index into schedule.Steps
	due          bool // the last step was taken, but reading its latents or its preview failed: OnStep and Progress were not called
	interrupted  bool // by OnStep
	stopped      bool // by Request.Stop
	retry        retry
	rgb          *rgbDecoder        // of previews; nil without, or where TAESD alone makes them
	taesd        *taesd.Autoencoder // of previews; nil without
	pace         pace               // of those
	shown        []shown            // previews that were not handed over yet, in order
	started      time.Time
	warnings     []string
	failed       error // what went wrong while the run was parked
	closed       atomic.Bool
	inpaint      *inpainting // nil without
	members      []*Run      // of a batch, whose steps this run takes for all; nil is none

	// Steps that the latents have had. It is less than next only while the run is computed again, which another run's
	// caller may do; so who has the right to compute reads and writes it, and next is the run's own.
	at int

	// Where the run is live on its UNet, its latents and the solver's history are in a program; else they are here.
	program *nn.Program
	in      shape // of program
	scale   float64
	phase   int       // of the conditioning that is in program
	x       []float32 // in the device's order
	history [][]float32
}

func (r *Run) noHistory() [][]float32 {
	h := make([][]float32, r.shape.history)
	for i := range h {
		h[i] = make([]float32, r.elements())
	}
	return h
}

// latentShape is [N, C, H, W].
func (r *Run) latentShape() []int {
	return []int{r.shape.batch, r.unet.Config.OutChannels, r.shape.height, r.shape.width}
}

// elements is the length of the latents.
func (r *Run) elements() int { return r.shape.elements(r.unet.Config.OutChannels) }

// Schedule returns the steps of this run. It must not be changed.
func (r *Run) Schedule() *scheduler.Schedule { return r.q.schedule }

// Parameters are what the run is made with.
func (r *Run) Parameters() Parameters { return r.q.Parameters }

// Next reports whether a step is left.
func (r *Run) Next() bool {
	return r.due || r.next < len(r.q.schedule.Steps) && !r.cut() && !r.inpaint.idle()
}

// Step evaluates the model once and advances the latents. On a device that finds NaN by itself it does not wait for the
// result unless OnStep wants it: up to two steps are queued then, and an error of one is found after later ones. A step
// that ctx has cancelled may be tried again by another call, as long as Next says so. OnStep's error ends the run;
// ErrInterrupt does so without an error.
func (r *Run) Step(ctx context.Context) error {
	if !r.Next() {
		return errors.New("sdxl: no step is left")
	}
	slot, err := r.m.host.acquire(ctx)
	if err != nil {
		return err
	}
	defer slot.release() // where a callback panics, too
	x, err := r.step(ctx)
	if err != nil {
		return err
	}
	slot.release()
	return r.onStep(x)
}

// step takes the next step. It returns the latents if OnStep wants them. One that was cancelled may be taken again:
// engines look at ctx before the solver's node, which is the last. Where only reading its latents or its preview failed,
// that is tried again.
func (r *Run) step(ctx context.Context) (x *Tensor, err error) {
	if err := r.activate(ctx); err != nil {
		return nil, err
	}
	if !r.due {
		if err := r.advance(ctx); err != nil {
			return nil, err
		}
		r.next, r.due = r.at, true
	}
	if r.q.request.OnStep != nil || !r.program.AsyncFinite() || r.program.NonFinite() {
		if x, err = r.latents(ctx); err != nil {
			return nil, err
		}
	}
	if err := r.preview(ctx); err != nil {
		return nil, err
	}
	r.due = false
	if progress := r.q.request.Progress; progress != nil {
		steps, elapsed := len(r.q.schedule.Steps), time.Since(r.started)
		left := elapsed / time.Duration(r.next) * time.Duration(steps-r.next)
		progress(Progress{Step: r.next, Steps: steps, Elapsed: elapsed, Left: left})
	}
	return x, nil
}

// onStep calls OnStep, without the right to compute.
func (r *Run) onStep(x *Tensor) error {
	if r.q.request.OnStep == nil {
		return nil
	}
	err := r.q.request.OnStep(r.next, x)
	if errors.Is(err, ErrInterrupt) {
		r.interrupted = true
		return nil
	}
	return err
}

// SetLatents replaces the latents, of the shape that Latents gives. It waits for the right to compute.
func (r *Run) SetLatents(ctx context.Context, x *Tensor) error {
	s := r.latentShape()
	if err := checkLatents("latents", x, s[0], s[1], s[2], s[3]); err != nil {
		return err
	}
	slot, err := r.m.host.acquire(ctx)
	if err != nil {
		return err
	}
	defer slot.release()
	if err := r.usable(); err != nil {
		return err
	}
	set := given{r.next, channelsLast(x)}
	if last := len(r.retry.given) - 1; r.retry.given[last].step == set.step {
		r.retry.given[last] = set
	} else {
		r.retry.given = append(r.retry.given, set)
	}
	if r.at < r.next {
		return nil // catchUp sets them
	}
	if !r.live() {
		r.x = set.x
		return nil
	}
	return r.program.SetFloats("x", set.x...)
}

// Finish reads the latents and, unless the request wants those alone, decodes the images, one at a time.
func (r *Run) Finish(ctx context.Context) (*Result, error) {
	slot, err := r.m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	return r.finish(ctx, slot)
}

// finish is Finish for who has the right to compute, which it gives back once the last image is decoded: the watermark
// needs no device.
func (r *Run) finish(ctx context.Context, held *slot) (*Result, error) {
	x, err := r.finalLatents(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.showPreviews(ctx, true); err != nil {
		return nil, err
	}
	result := &Result{Latents: x, Parameters: r.q.Parameters, Steps: r.next, Warnings: slices.Clone(r.warnings)}
	result.Parameters.Interrupted = r.interruption()
	result.Parameters.ModelHash = r.m.hashOf(r.unet)
	if p := r.retry.precision; p != 0 {
		result.Parameters.Precision = p.String()
	}
	if r.q.request.LatentsOnly {
		return result, nil
	}
	for _, n := range r.stepNetworks() {
		if err := r.m.host.memory.done(ctx, n); err != nil {
			return nil, err
		}
	}
	for i := range r.shape.batch {
		computed := func() {}
		if i == r.shape.batch-1 {
			computed = func() { r.computed(held) }
		}
		img, err := r.image(ctx, x, i, computed)
		if err != nil {
			return nil, err
		}
		result.Images = append(result.Images, img)
	}
	return result, nil
}

// image is image i of the result. It calls computed once the device has done its part.
func (r *Run) image(ctx context.Context, x *Tensor, i int, computed func()) (*image.NRGBA, error) {
	if r.inpaint.idle() && r.inpaint.source != nil {
		computed()
		return opaque(r.inpaint.source), nil
	}
	img, err := r.m.decode(ctx, x, i, r.q.Watermark, computed, r.m.decoderTaps(r.q.request.Taps))
	if err != nil || r.inpaint == nil {
		return img, err
	}
	return r.inpaint.compose(img, *r.q.KeepUnmasked, r.q.SoftMask), nil
}

// computed gives the right to compute back, and calls OnComputed.
func (r *Run) computed(held *slot) {
	held.release()
	if f := r.q.request.OnComputed; f != nil {
		f()
	}
}

// Generate makes images: of text, or of an image where the request has one. It holds the right to compute for all of
// it, but for calls of OnStep.
func (m *Model) Generate(ctx context.Context, r Request) (*Result, error) {
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	return m.generate(ctx, r, slot)
}

// generate is Generate for who has the right to compute.
func (m *Model) generate(ctx context.Context, r Request, slot *slot) (*Result, error) {
	if r.Hires != nil {
		return m.generateHires(ctx, r, slot)
	}
	run, err := m.start(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	if err := run.steps(ctx, slot); err != nil {
		return nil, err
	}
	return run.finish(ctx, slot)
}

// steps takes every step that is left, and gives the right to compute away while OnStep is called.
func (r *Run) steps(ctx context.Context, s *slot) error {
	for r.Next() {
		x, err := r.step(ctx)
		if err != nil {
			return err
		}
		if r.q.request.OnStep == nil {
			continue
		}
		s.release()
		if err := r.onStep(x); err != nil {
			return err
		}
		if err := s.acquire(ctx); err != nil {
			return err
		}
	}
	return nil
}
