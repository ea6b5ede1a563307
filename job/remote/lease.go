package remote

import (
	"context"
	"encoding/json"
	"errors"
	"image"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

const (
	resultTime   = 30 * time.Minute // for which a worker tries to hand in a result
	reasonTime   = time.Minute      // for which it tries to say why there is none
	leavingTime  = 5 * time.Second  // for either, once it is stopped
	answerTime   = 10 * time.Second // for an API to answer
	longestPause = 5 * time.Second  // between two attempts
)

// lease is a job that a worker has.
type lease struct {
	worker  *Worker
	job     job.Job
	run     string
	message jetstream.Msg
	ctx     context.Context
	cancel  context.CancelCauseFunc
	stop    chan struct{} // see job.Lease.Stop

	// Of worker.mu.
	stopped  bool              // stop is closed
	files    map[string][]byte // images that were computed, until the API has them
	released bool              // the device is free
	taken    chan struct{}     // closed when a device has the job
	over     error             // why it has ended, nil while it has not
}

func (l *lease) Job() job.Job             { return l.job }
func (l *lease) Context() context.Context { return l.ctx }
func (l *lease) Stop() <-chan struct{}    { return l.stop }
func (l *lease) Blobs() worker.Blobs      { return leaseBlobs{l} }

// Event tells the API of progress; it may be lost.
func (l *lease) Event(ev job.Event) {
	if l.ended() == nil {
		l.worker.conn.publish(eventsSubject(l.job.ID), news{Run: l.run, Event: ev})
	}
}

// Released tells the API that the device is free.
func (l *lease) Released() {
	w := l.worker
	w.mu.Lock()
	first := !l.released
	l.released = true
	over := l.over
	w.mu.Unlock()
	switch {
	case over != nil:
		w.drop(l)
	case first:
		w.conn.publish(eventsSubject(l.job.ID), news{Run: l.run, Released: true})
	}
}

func (l *lease) ended() error {
	l.worker.mu.Lock()
	defer l.worker.mu.Unlock()
	return l.over
}

// end ends the lease: nobody waits for what becomes of it. It is held until its device is free.
func (l *lease) end(why error) {
	w := l.worker
	w.mu.Lock()
	if l.over != nil {
		w.mu.Unlock()
		return
	}
	l.over, l.files = why, nil
	released := l.released
	w.mu.Unlock()
	l.cancel(why)
	if err := l.message.Ack(); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) { // the message ages out
		w.options.Log.Debug("a job is not acknowledged", slog.String("job", l.job.ID), slog.String("error", err.Error()))
	}
	if released {
		w.drop(l)
	}
}

// drop lets a lease go.
func (w *Worker) drop(l *lease) {
	w.mu.Lock()
	delete(w.held, l.run)
	w.mu.Unlock()
	w.tell()
}

// Done hands the result to the API. It returns job.ErrLeaseEnded or job.ErrCancelled if nobody wants it.
func (l *lease) Done(outputs []job.Blob, parameters json.RawMessage, warnings []string) error {
	if err := l.ended(); err != nil {
		return err
	}
	v := l.settle(outcome{Ending: endDone, Outputs: outputs, Parameters: parameters, Warnings: warnings}, resultTime)
	switch {
	case v == taken:
		l.end(job.ErrLeaseEnded)
		return nil
	case errors.Is(l.ended(), job.ErrCancelled):
		return job.ErrCancelled
	}
	l.end(job.ErrLeaseEnded)
	return job.ErrLeaseEnded
}

// Fail tells the API why there is no result.
func (l *lease) Fail(why *job.Error, cause error) {
	o := outcome{Ending: endFailed, Error: why}
	if cause != nil {
		o.Cause = cause.Error()
	}
	l.giveBack(o)
}

// Retry gives the job back, for another attempt.
func (l *lease) Retry(why *job.Error) {
	o := outcome{Ending: endRetry, Error: why}
	if l.worker.stopped.Err() != nil {
		o.Ending = endReturned
	}
	l.giveBack(o)
}

// refuse gives a job back that the worker can't compute.
func (l *lease) refuse(why *job.Error) {
	l.giveBack(outcome{Ending: endRefused, Error: why})
	l.Released()
}

func (l *lease) giveBack(o outcome) {
	if l.ended() == nil {
		l.settle(o, reasonTime)
		l.end(job.ErrLeaseEnded)
	}
}

// settle sends an outcome until an API answers, "" if none does in time, or the job is cancelled meanwhile.
func (l *lease) settle(o outcome, within time.Duration) verdict {
	w := l.worker
	o.Job, o.Run, o.Worker = l.job.ID, l.run, w.options.Name
	log := w.options.Log.With(slog.String("job", o.Job))
	ctx, cancel := context.WithTimeout(w.ctx, within)
	defer cancel()
	defer context.AfterFunc(w.stopped, func() {
		time.AfterFunc(leavingTime, cancel)
	})()
	data, err := encode(o)
	if err != nil {
		log.Error("a result can't be sent", slog.String("error", err.Error()))
		return ""
	}
	sent := false
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, longestPause) {
		if err = l.ended(); err != nil {
			return ""
		}
		if !sent {
			if err = l.sendOutputs(ctx, o); err == nil {
				sent = true
			}
		}
		if sent {
			var v verdict
			if v, err = w.ask(ctx, data); v == missing {
				sent = false
			} else if err == nil {
				return v
			}
		}
		if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, nats.ErrNoResponders) {
			_, _ = w.conn.objects(ctx) // NATS may have lost the store; if not, the next attempt says so
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			log.Error("a result is dropped: no API takes it", slog.String("ending", string(o.Ending)), slog.Any("error", err))
			return ""
		}
	}
}

// ask sends an outcome once.
func (w *Worker) ask(ctx context.Context, data []byte) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	m, err := w.conn.nc.RequestWithContext(ctx, subjectResult, data)
	if err != nil {
		return "", err
	}
	return verdict(m.Data), nil
}

// sendOutputs puts the images of a result into the object store.
func (l *lease) sendOutputs(ctx context.Context, o outcome) error {
	for _, b := range o.Outputs {
		l.worker.mu.Lock()
		data := l.files[b.ID]
		l.worker.mu.Unlock()
		if err := l.worker.conn.put(ctx, l.worker.store, object(l.job.ID, l.run, b.ID), data); err != nil {
			return err
		}
	}
	return nil
}

// leaseBlobs are the images of a job at a worker: those that it begins with come from the object store, those that it
// makes are in memory until the API has them.
type leaseBlobs struct{ lease *lease }

// Begin never fails: the API finds out whether there is room for the image.
func (b leaseBlobs) Begin(id string, _ blob.Type, _ int64) (worker.Pending, error) {
	return leaseFile{b.lease, id}, nil
}

// Load decodes an image that the job begins with.
func (b leaseBlobs) Load(id string) (image.Image, error) {
	l := b.lease
	ctx, cancel := context.WithTimeout(l.ctx, 3*callTimeout)
	defer cancel()
	data, err := l.worker.store.GetBytes(ctx, object(l.job.ID, l.run, id))
	if errors.Is(err, context.Canceled) && l.ctx.Err() != nil {
		return nil, context.Cause(l.ctx)
	}
	if err != nil { // the API reads the image again for the next attempt
		return nil, &worker.Error{Kind: worker.KindDeviceFailed, Message: "The image does not arrive at the worker", Err: err}
	}
	return imagefile.DecodeFrame(data, sdxl.MaxSide)
}

// Remove does nothing: images leave a worker with a job that is done, and with no other.
func (leaseBlobs) Remove(...string) error { return nil }

type leaseFile struct {
	lease *lease
	id    string
}

func (f leaseFile) Commit(data []byte) error {
	f.lease.worker.mu.Lock()
	defer f.lease.worker.mu.Unlock()
	if f.lease.over == nil {
		f.lease.files[f.id] = slices.Clone(data)
	}
	return nil
}

func (leaseFile) Discard() {}
