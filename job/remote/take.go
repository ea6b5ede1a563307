package remote

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// taker is a device that waits for a job.
type taker struct {
	job.Taker
	given chan *lease // has room for one
}

// Take waits for a job that the taker can compute. It returns the cause of ctx's end, or job.ErrClosed.
func (w *Worker) Take(ctx context.Context, t job.Taker) (worker.Lease, error) {
	mine := &taker{Taker: t, given: make(chan *lease, 1)}
	w.mu.Lock()
	w.takers = append(w.takers, mine)
	w.match()
	w.mu.Unlock()
	select {
	case w.asked <- struct{}{}:
	default:
	}
	var err error
	select {
	case l := <-mine.given:
		return l, nil
	case <-w.stopped.Done():
		err = job.ErrClosed
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if i := slices.Index(w.takers, mine); i >= 0 {
		w.takers = slices.Delete(w.takers, i, i+1)
		return nil, err
	}
	return <-mine.given, nil
}

// match gives the jobs that wait to the takers that can compute them. The caller holds mu.
func (w *Worker) match() {
	w.waits = slices.DeleteFunc(w.waits, func(l *lease) bool {
		i := slices.IndexFunc(w.takers, func(t *taker) bool { return t.Can == nil || t.Can(&l.job) })
		if i < 0 {
			return false
		}
		l.released = false
		close(l.taken)
		w.takers[i].given <- l
		w.takers = slices.Delete(w.takers, i, i+1)
		return true
	})
}

// offer lets a job wait for a taker that can compute it. It returns once one has it, or it goes back to the API: when it
// is cancelled, when the worker stops, or when patience, if that is not nil, tells.
func (w *Worker) offer(l *lease, patience <-chan time.Time) {
	w.mu.Lock()
	taken := make(chan struct{})
	l.taken = taken
	w.waits = append(w.waits, l)
	w.match()
	w.mu.Unlock()
	late := false
	select {
	case <-taken:
		return
	case <-patience:
		late = true
	case <-l.ctx.Done():
	}
	w.mu.Lock()
	i := slices.Index(w.waits, l)
	if i >= 0 {
		w.waits = slices.Delete(w.waits, i, i+1)
	}
	w.mu.Unlock()
	switch {
	case i < 0: // it was taken at the last moment
		return
	case late: // its device was lost meanwhile: another worker may have one
		l.giveBack(outcome{Ending: endReturned, Error: &job.Error{Kind: worker.KindDeviceFailed, Message: "The worker has no device for the job"}})
	case errors.Is(context.Cause(l.ctx), job.ErrClosed):
		l.Retry(stopping())
	}
	l.Released()
}

// Return gives the job to another device of the worker, which has one that may compute it.
func (l *lease) Return(*job.Error) {
	if l.ended() == nil {
		l.worker.loops.Go(func() { l.worker.offer(l, nil) })
	}
}
