package remote

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goxl/goxl/job"
)

const (
	pullTime = 5 * time.Second // of one request for a job
	mostSeen = 4096            // runs that are remembered, so that none is computed twice
)

// fetch gives the worker's jobs to those that wait in Take, until Stop.
func (w *Worker) fetch(consumer jetstream.Consumer) {
	for w.stopped.Err() == nil {
		w.mu.Lock()
		idle := len(w.takers) == 0 || w.leaving
		w.mu.Unlock()
		if idle {
			select {
			case <-w.asked:
			case <-w.stopped.Done():
			}
			continue
		}
		ctx, cancel := context.WithTimeout(w.stopped, pullTime)
		m, err := consumer.Next(jetstream.FetchContext(ctx))
		cancel()
		switch {
		case err == nil:
			w.receive(m)
		case w.stopped.Err() != nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, jetstream.ErrNoMessages), errors.Is(err, context.DeadlineExceeded):
		default:
			w.options.Log.Warn("no job can be fetched", slog.String("error", err.Error()))
			consumer = w.consumerAgain(consumer)
		}
	}
}

// consumerAgain waits a little and makes the consumer anew, which NATS may have lost.
func (w *Worker) consumerAgain(old jetstream.Consumer) jetstream.Consumer {
	select {
	case <-time.After(reconnectWait):
	case <-w.stopped.Done():
		return old
	}
	ctx, cancel := context.WithTimeout(w.stopped, callTimeout)
	defer cancel()
	if c, err := w.consumer(ctx); err == nil {
		return c
	}
	return old
}

// receive hands a job to one that waits in Take.
func (w *Worker) receive(m jetstream.Msg) {
	var in work
	if err := json.Unmarshal(m.Data(), &in); err != nil || in.Job.ID == "" || in.Run == "" {
		w.options.Log.Error("a job can't be read", slog.Any("error", err))
		_ = m.Term() // it stays as it is
		return
	}
	l := w.hold(in, m)
	if l == nil {
		_ = m.Term() // it was here before
		return
	}
	w.tell()
	if w.options.Refuse != nil {
		if why := w.options.Refuse(in.Job); why != nil {
			l.refuse(why)
			return
		}
	}
	patience := time.NewTimer(w.options.Lease)
	defer patience.Stop()
	w.offer(l, patience.C)
}

// hold makes a lease of a job, nil if the run came before.
func (w *Worker) hold(in work, m jetstream.Msg) *lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.Contains(w.seen, in.Run) {
		return nil
	}
	w.seen = append(w.seen, in.Run)
	w.seen = w.seen[max(0, len(w.seen)-mostSeen):]
	l := &lease{worker: w, job: in.Job, run: in.Run, message: m, stop: make(chan struct{}), files: map[string][]byte{}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	if w.stopped.Err() != nil {
		l.cancel(job.ErrClosed)
	}
	w.held[in.Run] = l
	return l
}
