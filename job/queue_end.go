package job

import "fmt"

// Cancel ends a job: one that waits at once, one that is computed by ending its lease's context with ErrCancelled. It
// is Cancelled when Cancel returns. One that has ended before is returned as it is. by is who wants it, for the record;
// "" is nobody in particular. Errors are those of Journal.Get; where the record can't be written, the job is cancelled
// all the same, and comes back when the journal is opened again.
func (q *Queue) Cancel(id string, by string) (Job, error) {
	q.mu.Lock()
	e := q.find(id)
	if e == nil || e.job.State.Ended() {
		q.mu.Unlock()
		if e != nil {
			return e.job, nil
		}
		return q.journal.Get(id)
	}
	defer q.mu.Unlock()
	message := "The job was cancelled."
	if by != "" {
		message = fmt.Sprintf("The job was cancelled by %s.", by)
	}
	err := q.end(e, Cancelled, &Error{Kind: KindCancelled, Message: message}, ErrCancelled)
	return e.job, err
}

// Interrupt has a job that is computed end, Done, with what there is: its lease's Stop is closed. It returns at once. One
// that has ended is returned as it is; of one that waits there is nothing, which ErrNotRunning says. An attempt that
// fails takes the wish along: the next one is for the whole job. (The state Interrupted is of such jobs, not of these.)
// Other errors are those of Journal.Get.
func (q *Queue) Interrupt(id string) (Job, error) {
	q.mu.Lock()
	e := q.visible(id)
	switch {
	case e == nil:
		q.mu.Unlock()
		return q.journal.Get(id)
	case e.job.State.Ended():
	case e.lease == nil:
		defer q.mu.Unlock()
		return e.job, ErrNotRunning
	case !e.live.Stopping:
		e.live.Stopping = true
		close(e.lease.stop)
		q.publish(e, Event{Kind: KindStopping})
	}
	defer q.mu.Unlock()
	return e.job, nil
}

// FailWaiting fails the jobs that wait for which why gives a reason: nobody can compute them. why is called while the queue
// is locked: it must be quick, not use the queue, and leave the job as it is.
func (q *Queue) FailWaiting(why func(*Job) *Error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	reasons := map[string]*Error{}
	for _, o := range q.turns {
		for _, e := range o.jobs {
			if reason := why(&e.job); reason != nil {
				reasons[e.job.ID] = reason
			}
		}
	}
	for id, reason := range reasons {
		if e := q.find(id); e != nil && e.lease == nil && !e.job.State.Ended() && !q.closed {
			_ = q.end(e, Failed, reason, ErrLeaseEnded) // which logs what can't be recorded
		}
	}
}

// end ends a job whose entry find gave, Failed or Cancelled. Where its record can't be written, the job has ended all
// the same, and stays in memory to say so. over is what its lease says from then on.
func (q *Queue) end(e *active, state State, why *Error, over error) error {
	if e.lease != nil && state == Cancelled {
		e.lease.cancel(over) // before the record is written: the device need not wait for the disk
	}
	err := q.record(e, func(j *Job) error {
		j.State, j.Error = state, why
		return nil
	})
	if err != nil {
		e.job.State, e.job.Error, e.job.Ended = state, why, q.options.Now()
		q.unwritten(e.job.ID, err)
	}
	q.ended(e, over)
	if err != nil {
		q.active[e.job.ID] = e
	}
	return err
}

// ended takes a job that has ended out of the queue and tells its watchers.
func (q *Queue) ended(e *active, over error) {
	if e.lease == nil {
		q.dequeue(e, false)
	} else {
		e.lease.finish(over)
	}
	e.live = Live{}
	q.publish(e, q.stateEvent(e))
	delete(q.active, e.job.ID)
	q.dispatch()
	q.tellPositions()
}
