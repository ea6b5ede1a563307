package sdxl

import (
	"context"
	"errors"
	"time"

	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// Run is one picture, or one batch, in the making. Start and StartRefine give it; it must be closed, and is used by one goroutine.
type Run struct {
	p        *Pipeline
	request  Request
	schedule *scheduler.Schedule
	shape    shape
	told     conditioning
	program  *nn.Program
	random   *scheduler.Generator
	noise    []float32
	next     int // index into schedule.Steps
	replay   replay
	started  time.Time
	warnings []string
	closed   bool
}

// Start prepares text to image: encodes the prompts and draws the first latents. It waits until the pipeline is free.
func (p *Pipeline) Start(ctx context.Context, r Request) (*Run, error) {
	return p.start(ctx, r, false)
}

// StartRefine prepares image to image: encodes the picture, or takes its latents, and noises it by the request's strength.
func (p *Pipeline) StartRefine(ctx context.Context, r Request) (*Run, error) {
	return p.start(ctx, r, true)
}

func (p *Pipeline) start(ctx context.Context, r Request, imageToImage bool) (_ *Run, err error) {
	size, schedule, err := p.prepare(&r, imageToImage)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.busy:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	run := &Run{p: p, request: r, schedule: schedule, random: scheduler.NewGenerator(r.Seed), started: time.Now()}
	defer func() {
		if err != nil {
			run.Close()
		}
	}()
	run.shape = p.shape(&r, size, schedule)
	warn := func(s string) { run.warnings = append(run.warnings, s) }
	if w := p.sizeWarning(size); w != "" {
		warn(w)
	}
	if len(schedule.Steps) == 0 {
		warn(p.noStepWarning(&r, imageToImage))
	}
	if run.told, err = p.condition(ctx, &run.request, run.shape.guided, size, imageToImage, warn); err != nil {
		return nil, err
	}
	if err := p.admit(&run.request, run.shape, imageToImage); err != nil {
		return nil, err
	}
	var x []float32
	if imageToImage {
		x, err = run.imageLatents(ctx)
	} else {
		x = run.firstLatents()
	}
	if err != nil {
		return nil, err
	}
	run.replay = replay{random: *run.random, given: []given{{0, x}}}
	return run, run.load(ctx)
}

// load compiles the step and gives it prompt, first latents and an empty history.
func (r *Run) load(ctx context.Context) (err error) {
	if r.program, err = r.p.unet.step(r.shape, r.replay.precision); err != nil {
		return err
	}
	if _, err := r.program.Sync(ctx); err != nil { // what a cancelled picture may have left
		return err
	}
	if err := r.p.unet.tell(r.program, r.told); err != nil {
		return err
	}
	zeros := make([]float32, r.elements())
	if err := r.program.SetFloats("noise", zeros...); err != nil {
		return err
	}
	for i := range r.shape.history {
		if err := r.program.SetFloats(historyName(i), zeros...); err != nil {
			return err
		}
	}
	return r.give()
}

// latentShape is [N, C, H, W].
func (r *Run) latentShape() [4]int {
	return [4]int{r.shape.batch, r.p.unet.config.InChannels, r.shape.height, r.shape.width}
}

// draw returns unit normal noise in the device's order; the generator fills [N, C, H, W].
func (r *Run) draw() []float32 {
	x := newLatents(r.latentShape())
	r.random.Randn(x.Data)
	return x.channelsLast()
}

// firstLatents are noise of the schedule's first level.
func (r *Run) firstLatents() []float32 {
	var x []float32
	if r.request.Latents != nil {
		x = r.request.Latents.channelsLast()
	} else {
		x = r.draw()
	}
	sigma := float32(r.schedule.InitNoiseSigma)
	for i := range x {
		x[i] *= sigma
	}
	return x
}

// Schedule returns the steps of this run. It must not be changed.
func (r *Run) Schedule() *scheduler.Schedule { return r.schedule }

// Next reports whether a step is left.
func (r *Run) Next() bool { return r.next < len(r.schedule.Steps) }

// Step evaluates the model once and advances the latents. On a device that looks for NaN by itself it does not wait for the result unless OnLatents wants it: up to two
// steps are under way then, and what goes wrong in one is found after later ones.
func (r *Run) Step(ctx context.Context) error {
	if !r.Next() {
		return errors.New("sdxl: no step is left")
	}
	if err := r.advance(ctx); err != nil {
		return err
	}
	if r.request.OnLatents != nil || !r.program.AsyncFinite() || r.program.NonFinite() {
		x, err := r.Latents(ctx)
		if err != nil {
			return err
		}
		if r.request.OnLatents != nil {
			r.request.OnLatents(r.next, x)
		}
	}
	if r.request.Progress != nil {
		steps, elapsed := len(r.schedule.Steps), time.Since(r.started)
		left := elapsed / time.Duration(r.next) * time.Duration(steps-r.next)
		r.request.Progress(Progress{Step: r.next, Steps: steps, Elapsed: elapsed, Left: left})
	}
	return nil
}

// advance takes the next step.
func (r *Run) advance(ctx context.Context) error {
	step := r.schedule.Steps[r.next]
	if step.Noise {
		r.noise = r.draw()
	}
	if err := r.shape.advance(ctx, r.program, step, r.noise, r.request.Guidance, r.request.GuidanceRescale); err != nil {
		return err
	}
	r.next++
	return nil
}

// SetLatents replaces the latents, of the shape that Latents gives.
func (r *Run) SetLatents(x *Latents) error {
	if err := x.check("latents", r.latentShape()); err != nil {
		return err
	}
	r.replay.given = append(r.replay.given, given{r.next, x.channelsLast()})
	return r.give()
}

// Predict evaluates the model alone, for sampling loops of one's own: x times inputScale at a timestep, guidance applied.
func (r *Run) Predict(ctx context.Context, x *Latents, timestep, inputScale float64) (*Latents, error) {
	if err := x.check("latents", r.latentShape()); err != nil {
		return nil, err
	}
	key, build := r.p.unet.prediction(r.shape)
	m := make([]float32, r.elements())
	err := r.p.unet.Evaluate(ctx, key, build, func(p *nn.Program) error {
		if err := r.p.unet.tell(p, r.told); err != nil {
			return err
		}
		if err := p.SetFloats("x", x.channelsLast()...); err != nil {
			return err
		}
		return r.shape.set(p, timestep, inputScale, r.request.Guidance, r.request.GuidanceRescale)
	}, func(p *nn.Program) ([]float32, error) { return m, p.Floats(ctx, "prediction", m) })
	if err != nil {
		return nil, err
	}
	return channelsFirst(r.latentShape(), m), nil
}

// Finish reads the latents and, unless the request wants those alone, decodes the pictures, one at a time.
func (r *Run) Finish(ctx context.Context) (*Result, error) {
	x, err := r.Latents(ctx)
	if err != nil {
		return nil, err
	}
	result := &Result{Latents: x, Seed: r.request.Seed, Steps: r.next, Warnings: r.warnings}
	if r.request.LatentsOnly {
		return result, nil
	}
	if err := r.p.memory.done(ctx, r.p.unet.Network); err != nil {
		return nil, err
	}
	for i := range r.shape.batch {
		img, err := r.p.decode(ctx, x, i, r.request.Watermark)
		if err != nil {
			return nil, err
		}
		result.Images = append(result.Images, img)
	}
	return result, nil
}

// Close lets the pipeline go. A second call does nothing.
func (r *Run) Close() {
	if !r.closed {
		r.closed = true
		r.p.busy <- struct{}{}
	}
}

// all runs every step that is left and finishes.
func (r *Run) all(ctx context.Context) (*Result, error) {
	for r.Next() {
		if err := r.Step(ctx); err != nil {
			return nil, err
		}
	}
	return r.Finish(ctx)
}

// Generate draws pictures from text.
func (p *Pipeline) Generate(ctx context.Context, r Request) (*Result, error) {
	run, err := p.Start(ctx, r)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	return run.all(ctx)
}

// Refine redraws a picture: image to image.
func (p *Pipeline) Refine(ctx context.Context, r Request) (*Result, error) {
	run, err := p.StartRefine(ctx, r)
	if err != nil {
		return nil, err
	}
	defer run.Close()
	return run.all(ctx)
}
