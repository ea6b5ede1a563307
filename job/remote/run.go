package remote

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// run is an attempt at a job by a worker. API.mu guards what changes.
type run struct {
	id    string
	lease *job.Lease
	job   job.Job
	peer  *peer
	free  chan struct{} // closed when the device is free

	sign     time.Time // the last sign of life
	accepted bool      // the worker has it
	released bool
}

// release notes that the device is free. The caller holds API.mu.
func (r *run) release() {
	if !r.released {
		r.released = true
		close(r.free)
	}
}

// compute has a worker compute a job, and returns once the device is free.
func (a *API) compute(p *peer, l *job.Lease, name string) {
	r := &run{id: rand.Text(), lease: l, job: l.Job(), peer: p, free: make(chan struct{}), sign: time.Now()}
	a.mu.Lock()
	old := a.heldRun(p, r.job.ID) // of an API that ended
	if old != "" {
		r.id, r.accepted = old, true
	}
	if len(a.runs) == 0 {
		a.empty = make(chan struct{})
	}
	a.runs[r.job.ID] = r
	a.mu.Unlock()
	if !a.begin(func() { a.drive(r, name, old != "") }) {
		l.Retry(stopping())
		a.forget(r)
	}
	<-r.free
	l.Released()
}

func stopping() *job.Error {
	return &job.Error{Kind: worker.KindStopping, Message: worker.StoppingWords}
}

// drive sends a job to its worker, and gives it back to the queue when that gives no sign of life.
func (a *API) drive(r *run, name string, adopted bool) {
	defer a.forget(r)
	log := a.options.Log.With(slog.String("job", r.job.ID), slog.String("device", name), slog.Int("attempt", r.job.Attempts))
	var sequence uint64 // of its message, 0 if it has none
	if adopted {
		log.Info("job goes on at its worker")
	} else {
		inputs, err := a.sendInputs(r)
		defer func() { a.conn.remove(a.store, inputs...) }()
		if err == nil {
			sequence, err = a.send(r)
		}
		if err != nil && r.lease.Context().Err() == nil {
			log.Warn("job can't be sent", slog.String("error", err.Error()))
			a.unsent(r, err)
			return
		}
	}
	tick := time.NewTicker(a.options.Lease / 6)
	defer tick.Stop()
	stop, stopped := r.lease.Stop(), false
	for {
		if stopped { // again at each tick: the worker may not have had the job, or the order was lost
			a.conn.publish(stopSubject(r.job.ID), order{r.id})
		}
		select {
		case <-stop:
			stop, stopped = nil, true
			continue
		case <-r.lease.Context().Done():
			switch cause := context.Cause(r.lease.Context()); {
			case errors.Is(cause, job.ErrCancelled):
				a.withdraw(r, sequence)
			case errors.Is(cause, job.ErrClosed):
				r.lease.Retry(stopping()) // the worker goes on, and the next API takes the result
			}
			return
		case <-tick.C:
		}
		a.mu.Lock()
		silent, accepted := a.silent(r.sign, time.Now()), r.accepted
		alive := !r.peer.gone
		a.mu.Unlock()
		if !silent {
			continue
		}
		log.Warn("job gives no sign of life", slog.Bool("accepted", accepted))
		a.endRun(r)
		a.withdraw(r, sequence)
		why := &job.Error{Kind: worker.KindDeviceFailed, Message: "The worker that computed the job is gone"}
		if alive && !accepted { // it does not take what it is given
			a.rest(r.peer)
			r.lease.Return(why)
		} else {
			r.lease.Retry(why)
		}
		return
	}
}

// unsent ends the lease of a job that could not be given to a worker.
func (a *API) unsent(r *run, err error) {
	a.endRun(r)
	var gone *inputError
	switch {
	case errors.As(err, &gone):
		r.lease.Fail(gone.why, gone.err)
		return
	case errors.Is(err, nats.ErrMaxPayload):
		why := &job.Error{Kind: worker.KindTooLong, Message: "The request is too large to be sent to a worker"}
		if a.options.Local && a.refuse(r, why) { // a device of this process needs no message
			r.lease.Return(why)
		} else {
			r.lease.Fail(why, err)
		}
		return
	}
	a.rest(r.peer)
	a.makeAgain()
	r.lease.Return(&job.Error{Kind: worker.KindDeviceFailed, Message: "The worker can't be reached"})
}

// makeAgain makes the stream and the object store where NATS has lost them.
func (a *API) makeAgain() {
	ctx, cancel := context.WithTimeout(a.ctx, callTimeout)
	defer cancel()
	if _, err := a.conn.stream(ctx); err != nil {
		return // the next job that can't be sent tries again
	}
	_, _ = a.conn.objects(ctx)
}

// inputError says that an image that a job begins with can't be read.
type inputError struct {
	why *job.Error
	err error
}

func (e *inputError) Error() string { return e.err.Error() }

// sendInputs puts the images that a job begins with into the object store, each once, and returns their names.
func (a *API) sendInputs(r *run) (names []string, err error) {
	for _, b := range r.job.Inputs {
		name := object(r.job.ID, r.id, b.ID)
		if slices.Contains(names, name) {
			continue
		}
		data, _, err := a.images.Read(b.ID)
		if err != nil {
			return names, &inputError{worker.Failure(err), err}
		}
		names = append(names, name)
		if err := a.conn.put(r.lease.Context(), a.store, name, data); err != nil {
			return names, err
		}
	}
	return names, nil
}

// put writes an image to the object store.
func (c *Conn) put(ctx context.Context, store jetstream.ObjectStore, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 3*callTimeout)
	defer cancel()
	if _, err := store.Put(ctx, jetstream.ObjectMeta{Name: name}, bytes.NewReader(data)); err != nil {
		return fmt.Errorf("remote: an image for the object store: %w", err)
	}
	return nil
}

// send publishes a job for its worker.
func (a *API) send(r *run) (sequence uint64, err error) {
	data, err := encode(work{r.id, r.job})
	if err != nil {
		return 0, err
	}
	m := &nats.Msg{Subject: workSubject + r.peer.id, Data: data}
	ctx, cancel := context.WithTimeout(r.lease.Context(), callTimeout)
	defer cancel()
	id := fmt.Sprintf("%s/%d/%s", r.job.ID, r.job.Attempts, r.id)
	ack, err := a.conn.js.PublishMsg(ctx, m, jetstream.WithMsgID(id), jetstream.WithExpectStream(streamName))
	if err != nil {
		return 0, fmt.Errorf("remote: sending a job: %w", err)
	}
	a.mu.Lock()
	r.sign = time.Now()
	a.mu.Unlock()
	return ack.Sequence, nil
}

// withdraw tells the worker that nobody wants its run of a job, and takes back the message of one that it may not have.
func (a *API) withdraw(r *run, sequence uint64) {
	a.conn.publish(cancelSubject(r.job.ID), order{r.id})
	if sequence == 0 || !a.conn.connected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := a.stream.DeleteMsg(ctx, sequence); err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
		a.options.Log.Debug("the message of a job stays", slog.String("job", r.job.ID), slog.String("error", err.Error()))
	}
}

// rest gives a worker no jobs for a time.
func (a *API) rest(p *peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.rests = time.Now().Add(restTime)
}

// endRun notes that a run has ended, before its job can be given out again: whoever still holds it does not have the job.
func (a *API) endRun(r *run) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over[r.id] = time.Now()
}

// forget ends what is known of a run.
func (a *API) forget(r *run) {
	a.mu.Lock()
	r.release()
	if a.runs[r.job.ID] == r {
		delete(a.runs, r.job.ID)
		if len(a.runs) == 0 {
			close(a.empty)
		}
	}
	a.mu.Unlock()
	r.peer.wake() // it may have room for another job
}

// onNews tells the watchers of a job what its worker tells.
func (a *API) onNews(m *nats.Msg) {
	id, n, err := readNews(m)
	if err != nil {
		a.options.Log.Warn("a worker's news can't be read", slog.String("error", err.Error()))
		return
	}
	a.mu.Lock()
	r := a.runs[id]
	if r == nil || r.id != n.Run {
		a.mu.Unlock()
		return
	}
	r.sign, r.accepted = time.Now(), true
	if n.Released {
		r.release()
	}
	a.mu.Unlock()
	if n.Event.Kind != "" {
		r.lease.Event(n.Event)
	}
}
