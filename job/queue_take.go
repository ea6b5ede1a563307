package job

import (
	"context"
	"slices"
)

// maxPassed is how many jobs for which a device is warm go before one whose turn it is.
const maxPassed = 3

// Taker is who computes jobs: usually a device.
type Taker struct {
	Name string // for the log

	// ID tells that it is the same who takes again, one call after another: a pointer, mostly, or another comparable value;
	// nil is nobody in particular. From its lease's Released, or a call that ctx has ended, until it takes again, such a
	// taker counts as free for Submit, as far as Can says so; Leave tells that it does not come again.
	ID any

	// Can reports whether the taker can compute a job, and Prefers whether it does so without loading anything; nil is
	// always and never. They are called while the queue is locked: they must be quick, not use the queue, and leave the
	// job as it is.
	Can     func(*Job) bool
	Prefers func(*Job) bool
}

// taker is a Taker that waits, computes, or is about to wait.
type taker struct {
	Taker
	given    chan *Lease // has room for one; closed when the queue is
	reserved bool        // for a job whose record is being written
	expected *active     // of one that is about to wait: a job for it; nil if there is none

	computing int // leases that are not Released
}

func (t *taker) can(j *Job) bool     { return t.Can == nil || t.Can(j) }
func (t *taker) prefers(j *Job) bool { return t.Prefers != nil && t.Prefers(j) }

// Take waits for a job that the taker can compute, and gives it to the taker until the lease is ended. Owners have
// turns: of the jobs with the highest priority, the one whose owner has waited for longest since his last turn. One
// that the taker prefers goes before it, but at most three times. Take returns the cause of ctx's end, or ErrClosed. It
// may return a lease although ctx has ended, if both came at the same moment.
func (q *Queue) Take(ctx context.Context, t Taker) (*Lease, error) {
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return nil, ErrClosed
	case ctx.Err() != nil:
		q.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	mine := q.comesBack(t)
	mine.given = make(chan *Lease, 1)
	q.takers = append(q.takers, mine)
	q.dispatch()
	q.tellPositions()
	q.mu.Unlock()

	select {
	case l, open := <-mine.given:
		return l, closedUnless(open)
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.takers, mine); i >= 0 {
		q.takers = slices.Delete(q.takers, i, i+1)
		q.goesAway(mine)
		return nil, context.Cause(ctx)
	}
	l, open := <-mine.given
	return l, closedUnless(open)
}

func closedUnless(open bool) error {
	if open {
		return nil
	}
	return ErrClosed
}

// dispatch gives jobs to the takers that wait for them.
func (q *Queue) dispatch() {
	for !q.closed {
		var to *taker
		var next, passed *active
		for _, t := range q.takers {
			if t.reserved {
				continue
			}
			e, over := q.choose(t)
			if e == nil {
				continue
			}
			warm := t.prefers(&e.job)
			if to == nil || warm {
				to, next, passed = t, e, over
			}
			if warm {
				break
			}
		}
		if to == nil {
			q.expectReturning()
			return
		}
		if passed != nil {
			passed.passed++
		}
		q.give(next, to)
	}
}

// choose picks the job that a taker gets next, nil if it can compute none, and tells whose turn it was, if another's.
func (q *Queue) choose(t *taker) (next, passed *active) {
	for _, o := range q.turns {
		for _, e := range o.jobs {
			if next != nil && e.job.Priority <= next.job.Priority {
				break
			}
			if q.ready(e) && t.can(&e.job) {
				next = e
				break
			}
		}
	}
	if next == nil || next.passed >= maxPassed || t.Prefers == nil || t.prefers(&next.job) {
		return next, nil
	}
	for _, o := range q.turns {
		for _, e := range o.jobs {
			if e.job.Priority == next.job.Priority && q.ready(e) && t.can(&e.job) && t.prefers(&e.job) {
				return e, next
			}
		}
	}
	return next, nil
}

// ready reports whether a job that waits may be taken now.
func (q *Queue) ready(e *active) bool { return e.writing == nil && (!q.draining || e.job.Attached) }

// give gives a job to a taker that waits.
func (q *Queue) give(e *active, t *taker) {
	q.takers = slices.DeleteFunc(q.takers, func(other *taker) bool { return other == t })
	t.given <- q.lease(e, t)
}

// lease makes a lease of a job that waits, for a taker. The record of it is written beside the computation; it says no more than that
// the attempt counts.
func (q *Queue) lease(e *active, t *taker) *Lease {
	q.dequeue(e, true)
	e.job.State, e.job.Started, e.job.Error = Running, q.options.Now(), nil
	e.job.Attempts++
	e.passed = 0
	l := &Lease{queue: q, taker: t, entry: e, job: e.job, recorded: make(chan struct{}), stop: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	t.computing++
	e.lease = l
	q.leases[l] = struct{}{}
	q.publish(e, q.stateEvent(e))
	q.writing.Go(func() {
		defer close(l.recorded)
		if _, err := q.journal.Update(l.job.ID, func(j *Job) error {
			j.State, j.Started, j.Attempts, j.Error = l.job.State, l.job.Started, l.job.Attempts, nil
			return nil
		}); err != nil {
			q.unwritten(l.job.ID, err)
		}
	})
	return l
}
