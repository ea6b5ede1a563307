package job

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
)

// Lease is a job that a taker has. Exactly one of Done, Fail, Retry, Return and Cancelled ends it, unless Queue.Cancel did;
// what comes later does nothing. Its methods may be called at the same time.
type Lease struct {
	queue    *Queue
	taker    *taker
	entry    *active
	job      Job // as it was taken
	ctx      context.Context
	cancel   context.CancelCauseFunc
	recorded chan struct{} // closed when the journal has the attempt
	stop     chan struct{} // closed by Interrupt

	// Of queue.mu.
	released bool
	free     bool  // Released was called
	over     error // why the lease has ended; nil while it has not
}

// Job is the job as it was taken, Running.
func (l *Lease) Job() Job { return l.job }

// Context ends with the lease: with ErrCancelled as its cause when the job is cancelled, and with ErrClosed when the
// queue is closed.
func (l *Lease) Context() context.Context { return l.ctx }

// Stop is closed when the job's client wants no more than what there is: the taker ends the computation with that, and
// the lease with Done. One that can't goes on.
func (l *Lease) Stop() <-chan struct{} { return l.stop }

// Event publishes progress to the job's watchers. Job, Seq and Time are set by the queue. An event of KindState is
// ignored, since states are the queue's, and so is one after the lease's end.
func (l *Lease) Event(ev Event) {
	q := l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if l.over != nil {
		return
	}
	live := &l.entry.live
	switch ev.Kind {
	case KindStep:
		live.Step, live.Steps, live.Left, live.Loading = ev.Step, ev.Steps, ev.Left, 0
	case KindLoading:
		live.Loading = ev.Percent
	case KindPreview, KindWarning:
	default:
		return
	}
	q.publish(l.entry, ev)
}

// Released says that the device is free for another job, while this one's result is still on its way to the disk. A
// taker with an ID calls it also after the end of the lease.
func (l *Lease) Released() {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	l.release()
	if !l.free {
		l.free = true
		l.taker.computing--
		l.queue.goesAway(l.taker)
	}
}

func (l *Lease) release() {
	if !l.released {
		l.released = true
		l.queue.last = l.queue.options.Now().Sub(l.job.Started)
	}
}

// finish ends the lease in memory. How long a job had its device that has no result says nothing of others.
func (l *Lease) finish(over error) {
	l.released = true
	l.over = over
	l.entry.lease = nil
	delete(l.queue.leases, l)
	l.cancel(over)
}

// hold returns with queue.mu locked and nobody else changing the job's state, or with the reason why the lease has
// ended.
func (l *Lease) hold() error {
	q := l.queue
	q.mu.Lock()
	for l.over == nil && l.entry.writing != nil {
		q.await(l.entry)
	}
	if l.over != nil {
		defer q.mu.Unlock()
		return l.over
	}
	return nil
}

// Done ends the lease with a result. parameters take the place of the job's unless they are nil, warnings come after
// its own. An error says that the result could not be recorded: the lease goes on then, and Fail should end it; or it
// is ErrCancelled or ErrLeaseEnded, and nobody wants the result.
func (l *Lease) Done(outputs []Blob, parameters json.RawMessage, warnings []string) error {
	if err := l.hold(); err != nil {
		return err
	}
	q := l.queue
	defer q.mu.Unlock()
	err := q.record(l.entry, func(j *Job) error {
		j.State, j.Outputs, j.Error = Done, outputs, nil
		if parameters != nil {
			j.Parameters = parameters
		}
		j.Warnings = slices.Concat(j.Warnings, warnings)
		return nil
	})
	if err == nil {
		l.release()
		q.ended(l.entry, ErrLeaseEnded)
	}
	return err
}

// Fail ends the lease with a failed job. Its client reads why; the log has the cause, which may be nil.
func (l *Lease) Fail(why *Error, cause error) {
	if l.hold() != nil {
		return
	}
	defer l.queue.mu.Unlock()
	l.queue.logAttempt("job failed", l, why, cause)
	l.queue.end(l.entry, Failed, why, ErrLeaseEnded)
}

// Cancelled ends the lease with a cancelled job. After Queue.Cancel there is no need for it.
func (l *Lease) Cancelled() {
	if l.hold() != nil {
		return
	}
	defer l.queue.mu.Unlock()
	l.queue.end(l.entry, Cancelled, &Error{Kind: KindCancelled, Message: "The job was cancelled."}, ErrCancelled)
}

// Retry ends the lease with a job that is Interrupted for the reason: it waits before all others of its owner with its
// priority. After MaxAttempts it is Failed. When the queue is closed, the attempt does not count, and the job waits for
// the next queue, or is Cancelled if its client waited on a connection.
func (l *Lease) Retry(why *Error) { l.giveBack(why, true) }

// Return ends the lease as Retry does, but the attempt does not count: the taker can't compute the job after all, and
// must not take it again at once.
func (l *Lease) Return(why *Error) { l.giveBack(why, false) }

func (l *Lease) giveBack(why *Error, counts bool) {
	if l.hold() != nil {
		return
	}
	q, e := l.queue, l.entry
	defer q.mu.Unlock()
	switch {
	case q.closed && e.job.Attached:
		q.end(e, Cancelled, &Error{Kind: KindCancelled, Message: "The server ended while the client of the job waited."}, ErrClosed)
		return
	case !q.closed && counts && e.job.Attempts >= q.options.MaxAttempts:
		q.logAttempt("job failed after its last attempt", l, why, nil)
		q.end(e, Failed, why, ErrLeaseEnded)
		return
	}
	attempts := e.job.Attempts
	if q.closed || !counts {
		attempts--
	} else {
		q.logAttempt("job interrupted", l, why, nil)
	}
	change := func(j *Job) error {
		j.State, j.Attempts, j.Error = Interrupted, attempts, why
		return nil
	}
	if err := q.record(e, change); err != nil {
		q.unwritten(e.job.ID, err)
		_ = change(&e.job) // returns nil
	}
	l.finish(ErrLeaseEnded)
	e.live = Live{}
	q.enqueue(e)
	q.publish(e, q.stateEvent(e))
	if q.closed {
		e.closeWatchers()
	}
	q.dispatch()
	q.tellPositions()
}

func (q *Queue) logAttempt(msg string, l *Lease, why *Error, cause error) {
	err := cmp.Or(cause, error(why))
	q.options.Log.Warn(msg, slog.String("job", l.job.ID), slog.Int("attempt", l.job.Attempts), slog.String("error", err.Error()))
}

func (q *Queue) unwritten(id string, err error) {
	q.options.Log.Error("the record of a job could not be written", slog.String("job", id), slog.String("error", err.Error()))
}
