package server

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/worker"
)

// newJob is a job that computes a task, whose parameters are resolved, with the warnings that are not "".
func (s *Server) newJob(t worker.Task, warnings ...string) (j job.Job, err error) {
	if j.ID, err = blob.NewID(); err != nil {
		return j, err
	}
	p := t.Job.Parameters
	j.Model, j.Task, j.Batch = p.Model, string(p.Task), worker.BatchKey(t)
	if t.Job.Model != engine.Refiner && t.Job.Name != "" {
		j.Model = t.Job.Name
	}
	for _, l := range p.LoRAs {
		j.Adapters = append(j.Adapters, job.Adapter{Name: l.Name, Hash: l.Hash, Strength: l.Strength})
	}
	if s.config.Remote != nil { // workers compare them with their files
		t.Embeddings, t.Files = s.shared().Hashes(p.TextualInversions), s.shared().Fingerprints(t.Job)
	}
	if s.config.Remote != nil && len(j.Adapters) > 0 {
		for i, hash := range s.specs(t.Job.Name).AdapterHashes(t.Job) {
			if i < len(j.Adapters) {
				j.Adapters[i].Hash = hash
			}
		}
	}
	if j.Parameters, err = json.Marshal(p); err != nil {
		return j, err
	}
	for _, of := range t.Job.Request.Images() {
		size := of.Image.Bounds().Size()
		j.Inputs = append(j.Inputs, job.Blob{Role: of.Field, ID: t.Images[of.Field], Width: size.X, Height: size.Y})
	}
	for _, warning := range warnings {
		if warning != "" {
			j.Warnings = append(j.Warnings, warning)
		}
	}
	j.Request, err = t.Encode(s.shared())
	return j, err
}

// shared is what every request has of the server's own.
func (s *Server) shared() worker.Shared {
	c := &s.config
	return worker.Shared{
		LoRADir: c.LoRADir, ControlDir: c.ControlDir, IPAdapterDir: c.IPAdapterDir, UpscalerDir: c.UpscalerDir, TextualInversions: c.TextualInversions,
	}
}

// submit gives a job to the queue, as that of who sent a request.
func (s *Server) submit(x *exchange, j job.Job) (kept job.Job, existed bool, err error) {
	j.Owner, j.Trace = x.owner(), traceOf(x.r.Context())
	for i := range j.Inputs {
		if b := &j.Inputs[i]; slices.Contains(x.kept, b.ID) {
			b.OfJob = true
		} else if b.OfJob, err = s.ofJob(b.ID); err != nil {
			return job.Job{}, false, err
		}
	}
	if err := s.checkOffered(&j); err != nil {
		return job.Job{}, false, err
	}
	settle, err := s.admit(x, &j)
	if err != nil {
		return job.Job{}, false, err
	}
	kept, existed, err = s.queue.Submit(j)
	settle(err == nil && !existed)
	var full *job.FullError
	switch {
	case errors.As(err, &full):
		return kept, false, &failure{kind: queueFull, retry: full.Retry}
	case errors.Is(err, job.ErrClosed):
		return kept, false, &failure{kind: stopping, err: err}
	case errors.Is(err, job.ErrKeyReused):
		return kept, false, &failure{kind: keyReused, err: err}
	case err != nil:
		return kept, false, &failure{kind: journalBroken, err: err}
	}
	return kept, existed, nil
}

// await waits for the end of a job whose client waits on a connection. When the client hangs up, the server stops, or
// the job waits and no device is left, the job is cancelled; when its model is loaded for too long, once that is there.
func (s *Server) await(ctx context.Context, id string) (job.Job, error) {
	return s.attend(ctx, id, attendant{})
}

// attendant has functions that are called with a job while its client waits. An error of its functions cancels the job.
type attendant struct {
	event func(job.Event) error // nil does nothing
	idle  func() error          // called every eventIdle, so that a connection shows life; nil does nothing
}

// attend is await with functions that are called with the job meanwhile.
func (s *Server) attend(ctx context.Context, id string, a attendant) (job.Job, error) {
	watched, unwatch := context.WithCancel(context.WithoutCancel(ctx))
	defer unwatch()
	events, err := s.queue.Watch(watched, id, 0)
	if err != nil {
		return job.Job{}, err
	}
	var quiet <-chan time.Time
	if a.idle != nil {
		ticker := time.NewTicker(eventIdle)
		defer ticker.Stop()
		quiet = ticker.C
	}
	state := job.Queued
	var slow loadingTimer
	defer slow.stop()
	var why error
	for why == nil {
		var noDevice <-chan struct{}
		if state != job.Running && !s.remoteReady() {
			noDevice = s.pool.Down()
		}
		select {
		case <-ctx.Done():
			why = context.Cause(ctx)
		case <-s.stopped.Done():
			why = context.Cause(s.stopped)
		case <-noDevice:
			why = &failure{kind: deviceLost}
		case <-quiet:
			why = a.idle()
		case <-slow.c:
			s.goOnLoading(id)
			return job.Job{}, slow.failure(s.loadingWait)
		case e, more := <-events:
			if !more {
				return s.outcome(ctx, id)
			}
			if e.Kind == job.KindState {
				state = e.State
			}
			if a.event != nil {
				why = a.event(e)
			}
			if a.idle == nil { // else the connection shows life, and its client can wait
				slow.heed(e, s.loadingWait)
			}
		}
	}
	return job.Job{}, s.cancel([]string{id}, why)
}

// outcome is a job that has ended, or the error that it ended with. Once ctx has ended, whatever came of it, nobody
// would learn the id.
func (s *Server) outcome(ctx context.Context, id string) (job.Job, error) {
	j, _, err := s.queue.Job(id)
	switch {
	case ctx.Err() != nil:
		return j, context.Cause(ctx)
	case s.stopped.Err() != nil && j.State != job.Done:
		return j, context.Cause(s.stopped)
	case err != nil:
		return j, err
	case j.State == job.Done:
		return j, nil
	case j.Error != nil:
		return j, jobFailure(j.Error)
	}
	return j, &failure{kind: cancelled}
}

// resolveAgain resolves a task of whose images one has another size than when it was submitted. An error names the image
// that it is about, as the inputs of the job do.
func (s *Server) resolveAgain(t *worker.Task) (warning string, err error) {
	f := &fields{values: map[string]json.RawMessage{}}
	for field, id := range t.Images {
		if f.values[field], err = json.Marshal(id); err != nil {
			return "", err
		}
	}
	if t.Images["image"] != "" {
		f.source = "image"
	}
	warning, err = s.resolve(f, &t.Job)
	var failed *failure
	if errors.As(err, &failed) && failed.kind == invalid {
		detail, merr := json.Marshal(failed.problems)
		if merr != nil {
			return "", merr
		}
		return "", &worker.Error{Kind: worker.KindInvalid, Message: failed.Error(), Detail: detail}
	}
	return warning, err
}
