package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// takeTimeout is how long a result waits for its job to be free to take.
const takeTimeout = time.Second

func readNews(m *nats.Msg) (id string, n news, err error) {
	id = strings.TrimSuffix(strings.TrimPrefix(m.Subject, "goxl.job."), ".events")
	err = json.Unmarshal(m.Data, &n)
	return id, n, err
}

// onOutcome records what became of a job at a worker. No answer is one to ask again.
func (a *API) onOutcome(m *nats.Msg) {
	var o outcome
	if err := json.Unmarshal(m.Data, &o); err != nil {
		a.options.Log.Warn("a worker's result can't be read", slog.String("error", err.Error()))
		return
	}
	a.begin(func() {
		select {
		case a.outcomes <- struct{}{}:
		case <-a.ctx.Done():
			return
		}
		defer func() { <-a.outcomes }()
		v := a.record(o)
		if v == "" {
			return
		}
		if err := m.Respond([]byte(v)); err != nil {
			a.options.Log.Warn("a worker is not answered", slog.String("job", o.Job), slog.String("error", err.Error()))
		}
		if v != missing {
			a.removeOutputs(o)
		}
	})
}

// record records an outcome; "" is no verdict: it is not of a job of this API, or can't be recorded now.
func (a *API) record(o outcome) verdict {
	a.mu.Lock()
	r, busy := a.runs[o.Job], a.finishing[o.Job]
	if !busy {
		a.finishing[o.Job] = true
	}
	a.mu.Unlock()
	if busy {
		return ""
	}
	defer func() {
		a.mu.Lock()
		delete(a.finishing, o.Job)
		a.mu.Unlock()
	}()
	if r == nil {
		return a.recordLate(o)
	}
	if o.Ending == endDone {
		return a.finish(r.lease, o)
	}
	if r.id != o.Run {
		return ended
	}
	a.endRun(r)
	a.giveUp(r, o)
	return taken
}

// recordLate records the result of a job that is at no worker as far as is known here.
func (a *API) recordLate(o outcome) verdict {
	j, _, err := a.queue.Job(o.Job)
	switch {
	case errors.Is(err, job.ErrExpired):
		return ended
	case err != nil:
		return "" // another API may have it
	case j.State.Ended() || o.Ending != endDone:
		return ended
	}
	ctx, cancel := context.WithTimeout(a.ctx, takeTimeout)
	defer cancel()
	l, err := a.queue.Take(ctx, job.Taker{Name: "result", Can: func(j *job.Job) bool { return j.ID == o.Job }})
	if err != nil {
		return "" // it is taken by somebody, or the queue ends
	}
	l.Released()
	v := a.finish(l, o)
	if v == missing || v == "" {
		l.Return(&job.Error{Kind: worker.KindDeviceFailed, Message: "The result of a worker is lost"})
	}
	return v
}

// finish ends a lease with a result.
func (a *API) finish(l *job.Lease, o outcome) verdict {
	err := a.keep(l, o)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return missing
	}
	if errors.Is(err, errUnreachable) {
		return ""
	}
	if err == nil {
		err = l.Done(o.Outputs, o.Parameters, o.Warnings)
	}
	switch {
	case err == nil:
		a.options.Log.Info("job computed", slog.String("job", o.Job), slog.String("worker", o.Worker), slog.Int("warnings", len(o.Warnings)))
		return taken
	case errors.Is(err, job.ErrCancelled):
		if rerr := a.images.Remove(job.IDs(o.Outputs)...); rerr != nil {
			a.options.Log.Warn("images of a job that was cancelled are left", slog.String("job", o.Job), slog.String("error", rerr.Error()))
		}
		return ended
	case errors.Is(err, job.ErrLeaseEnded):
		return ended
	}
	a.options.Log.Error("the result of a job can't be kept", slog.String("job", o.Job), slog.String("error", err.Error()))
	l.Fail(worker.Failure(err), err)
	return ended
}

// errUnreachable says that NATS gave no answer.
var errUnreachable = errors.New("remote: the object store can't be reached")

// keep brings the images of a result to the disk.
func (a *API) keep(l *job.Lease, o outcome) error {
	wanted, err := worker.Outputs(l.Job().Request)
	if err != nil {
		return err
	}
	if ids := job.IDs(o.Outputs); !slices.Equal(ids, wanted) {
		return fmt.Errorf("remote: worker %s made the images %v: must be %v", o.Worker, ids, wanted)
	}
	for i := range o.Outputs {
		b := &o.Outputs[i]
		ctx, cancel := context.WithTimeout(a.ctx, 3*callTimeout)
		data, err := a.store.GetBytes(ctx, object(o.Job, o.Run, b.ID))
		cancel()
		if err != nil && !errors.Is(err, jetstream.ErrObjectNotFound) && !errors.Is(err, jetstream.ErrDigestMismatch) {
			return fmt.Errorf("%w: %w", errUnreachable, err)
		}
		if err != nil {
			return jetstream.ErrObjectNotFound // what was spoiled under way is as good as lost
		}
		f, err := a.images.Begin(b.ID, blob.Type(b.Type), int64(len(data)))
		if err != nil {
			return err
		}
		if err := f.Commit(data); err != nil {
			return err
		}
		b.Bytes = int64(len(data))
	}
	return nil
}

func (a *API) removeOutputs(o outcome) {
	var names []string
	for _, b := range o.Outputs {
		names = append(names, object(o.Job, o.Run, b.ID))
	}
	a.conn.remove(a.store, names...)
}

// giveUp ends the lease of a job that its worker has no result of.
func (a *API) giveUp(r *run, o outcome) {
	why := o.Error
	if why == nil {
		why = &job.Error{Kind: worker.KindInternal, Message: worker.InternalWords}
	}
	var cause error
	if o.Cause != "" {
		cause = fmt.Errorf("worker %s: %s", o.Worker, o.Cause)
	}
	refused := o.Ending == endRefused || o.Ending == endFailed && why.Kind == worker.KindTooLarge
	switch {
	case refused && a.refuse(r, why):
		a.options.Log.Info("job is refused by a worker", slog.String("job", o.Job), slog.String("worker", o.Worker), slog.String("reason", why.Message))
		r.lease.Return(why)
	case o.Ending == endReturned:
		r.lease.Return(why)
	case o.Ending == endRetry:
		r.lease.Retry(why)
	default:
		r.lease.Fail(why, cause)
	}
}
