package worker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// computed are the images of a job between the device and the disk: an encoder is held for them, and their files wait.
type computed struct {
	task     Task
	warnings []string
	result   *sdxl.Result
	files    []Pending
}

func (c *computed) discard() {
	for _, f := range c.files {
		f.Discard()
	}
}

// compute makes one attempt at a job, and ends its lease. It calls release once the device is free of it.
func (p *Pool) compute(d *device, l Lease, m *member, release func()) {
	j := l.Job()
	var took durations
	var kept []job.Blob
	c := &computed{}
	began := time.Now()
	if j.Attempts <= 1 {
		took.wait = began.Sub(j.Created)
	}
	ctx := l.Context() // ends by the job's client, or with the queue
	err := guarded(func() error { return p.attempt(ctx, l, m, c, release) })
	m.leave()
	computedAt := time.Now()
	took.compute = computedAt.Sub(began)
	// An image that finds no encoder free holds up the device.
	release()
	if err == nil {
		err = guarded(func() (err error) {
			kept, err = p.keep(ctx, c)
			return err
		})
		took.encode = time.Since(computedAt)
		if err == nil && p.config.Kept != nil {
			p.config.Kept(Attempt{j.ID, d.deviceName(), len(kept), computedAt, computedAt.Add(took.encode)})
		}
	}
	p.conclude(d, l, took, kept, c, err)
}

// guarded turns a panic into an error, which the log has with its place.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, strings.TrimSpace(string(debug.Stack())))
		}
	}()
	return do()
}

// attempt computes a job. After success, c has files to commit, and an encoder is held; both are for keep.
func (p *Pool) attempt(ctx context.Context, l Lease, m *member, c *computed, release func()) (err error) {
	j := l.Job()
	if err := p.tooLarge(j.ID); err != nil {
		return err
	}
	if err := p.encoders.acquire(ctx); err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept { // after a panic of the engine too
			c.discard()
			p.encoders.release()
		}
	}()
	if limit := p.config.Timeout; limit > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limit*time.Duration(m.size), tookTooLong(p.config.TimeoutWords))
		defer stop()
	}
	if c.task, err = Decode(j.Request, p.config.Shared); err != nil {
		return err
	}
	if err := json.Unmarshal(j.Parameters, &c.task.Job.Parameters); err != nil {
		return fmt.Errorf("worker: a job's parameters: %w", err)
	}
	if err := p.loadImages(l, c); err != nil {
		return err
	}
	for _, id := range c.task.Outputs {
		f, err := l.Blobs().Begin(id, c.task.mediaType(), c.bytes(len(j.Request)))
		if err != nil {
			return err
		}
		c.files = append(c.files, f)
	}
	r := &c.task.Job.Request
	r.OnComputed, r.Stop = release, l.Stop()
	r.Progress = func(at sdxl.Progress) {
		l.Event(job.Event{Kind: job.KindStep, Step: at.Step, Steps: at.Steps, Left: at.Left})
	}
	c.task.Job.OnLoading = func(percent float64) { l.Event(job.Event{Kind: job.KindLoading, Percent: percent}) }
	if every := c.task.PreviewEvery; every > 0 {
		r.Preview = &sdxl.Preview{Every: every, Func: func(step int, images []*image.NRGBA) { p.preview(l, step, images) }}
	}
	c.result, err = m.generate(ctx, j, c.task)
	c.dropImages()
	if err := ended(ctx, p.config.Shared.WithinFolders(err)); err != nil {
		return err
	}
	if n, want := len(c.result.Images), len(c.task.Outputs); n != want {
		return fmt.Errorf("the engine gave %d images: must be %d", n, want)
	}
	kept = true
	return nil
}

// generate computes a job's task on a device's engine.
func (p *Pool) generate(ctx context.Context, d *device, j job.Job, t Task) (*sdxl.Result, error) {
	e, done, err := d.call()
	defer done()
	if err != nil {
		return nil, err
	}
	if t.Job.Upscale != nil { // which leaves the models as they are
		result, err := e.Generate(ctx, t.Job)
		return result, failedWith(ctx, e, err)
	}
	d.uses(&j, t.Job.Name) // before the next job is chosen
	result, err := e.Generate(ctx, t.Job)
	p.used(d, e, &j, t.Job.Name, err)
	return result, failedWith(ctx, e, err)
}

// failedWith says of an error of a computation that its engine was lost, where that is why.
func failedWith(ctx context.Context, e engine.Engine, err error) error {
	if err != nil && ctx.Err() == nil && e.Lost() != nil {
		return &Error{Kind: KindDeviceFailed, Message: DeviceFailedWords, Err: err}
	}
	return err
}

// bytes is about the most that an image can take: three bytes a pixel, and the texts of a request of so many bytes.
func (c *computed) bytes(request int) int64 {
	size := c.task.ResultSize()
	return 3*int64(size.Width)*int64(size.Height) + 2*int64(request) + 128<<10
}

// keep brings the images to the disk, and gives those that are there, also with an error. Then the job holds neither an encoder nor pixels and latents.
func (p *Pool) keep(ctx context.Context, c *computed) (kept []job.Blob, err error) {
	defer p.encoders.release()
	defer c.discard()
	for i, f := range c.files {
		data, err := c.encode(i, p.config.Version)
		if err != nil {
			return kept, err
		}
		if err := ended(ctx, nil); err != nil {
			return kept, err
		}
		if err := f.Commit(data); err != nil {
			return kept, err
		}
		kept = append(kept, c.blob(i, len(data)))
	}
	c.result.Images, c.result.Latents = nil, nil
	c.warnings = distinct(append(c.warnings, c.result.Warnings...))
	return kept, nil
}

// done records the result.
func (p *Pool) done(l Lease, kept []job.Blob, c *computed) error {
	var parameters bytes.Buffer
	e := json.NewEncoder(&parameters)
	e.SetEscapeHTML(false)
	if err := e.Encode(c.result.Parameters); err != nil {
		return err
	}
	return l.Done(kept, bytes.TrimSpace(parameters.Bytes()), c.warnings)
}

// distinct leaves out what was said before: each text encoder says that it cut the prompt.
func distinct(warnings []string) (list []string) {
	for _, w := range warnings {
		if !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}
