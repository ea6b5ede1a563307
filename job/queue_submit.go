package job

import (
	"fmt"
	"slices"
)

// Submit accepts a job: when it returns, the job is on the disk, and waits or is computed. Where one of the same owner
// came with the same Key before, that one is returned, and existed is true. A FullError says that too many jobs wait: a
// job that a taker waits for, or is about to, is accepted in any case. ErrClosed says that the queue takes none any more. Other errors
// are those of Journal.Accept.
func (q *Queue) Submit(j Job) (accepted Job, existed bool, err error) {
	if j.Key != "" { // the answer to one that came before does not depend on room
		if accepted, existed, err = q.journal.Keyed(j.Owner, j.Key, j.KeyHash); existed || err != nil {
			return accepted, existed, err
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.draining {
		return Job{}, false, ErrClosed
	}
	if q.active[j.ID] != nil {
		return Job{}, false, fmt.Errorf("job: ID is %q, which is in the queue; allowed: a new one", j.ID)
	}
	giveUp, err := q.reserve(&j)
	if err != nil {
		return Job{}, false, err
	}
	e := q.newActive(j)
	e.writing = make(chan struct{})
	q.mu.Unlock()
	accepted, existed, err = q.journal.Accept(j)
	q.mu.Lock()
	close(e.writing)
	e.writing = nil
	giveUp()
	if err != nil || existed {
		delete(q.active, j.ID)
		q.dispatch()
		return accepted, existed, err
	}
	e.job, e.accepted = accepted, true
	q.enqueue(e)
	q.publish(e, q.stateEvent(e))
	if q.closed {
		e.closeWatchers()
	}
	q.dispatch()
	q.tellPositions()
	return accepted, false, nil
}

// reserve keeps a taker for a job that is about to be accepted, or a place to wait. giveUp ends that.
func (q *Queue) reserve(j *Job) (giveUp func(), err error) {
	if t := q.free(j); t != nil { // dispatch decides who has it in the end
		t.reserved = true
		return func() { t.reserved = false }, nil
	}
	all, mine := q.waiting-q.expected(nil), q.accepting[j.Owner]-q.expected(&j.Owner)
	for _, n := range q.accepting {
		all += n
	}
	if i := slices.IndexFunc(q.turns, func(o *owner) bool { return o.name == j.Owner }); i >= 0 {
		mine += len(q.turns[i].jobs)
	}
	switch {
	case all >= q.options.Capacity:
		return nil, &FullError{Limit: q.options.Capacity, Retry: q.estimate()}
	case q.options.PerOwner > 0 && mine >= q.options.PerOwner:
		return nil, &FullError{Owner: j.Owner, Limit: q.options.PerOwner, Retry: q.estimateOf(j.Owner)}
	}
	q.accepting[j.Owner]++
	return func() {
		if q.accepting[j.Owner]--; q.accepting[j.Owner] == 0 {
			delete(q.accepting, j.Owner)
		}
	}, nil
}
