package job

import "slices"

// comesBack is the entry of who takes: the one that it had, if it is about to come.
func (q *Queue) comesBack(t Taker) *taker {
	i := slices.IndexFunc(q.returning, func(r *taker) bool { return r.ID == t.ID })
	if i < 0 {
		return &taker{Taker: t}
	}
	mine := q.returning[i]
	q.returning = slices.Delete(q.returning, i, i+1)
	mine.Taker = t
	mine.expect(nil) // dispatch decides now
	return mine
}

// goesAway notes that a taker does not wait. Where it has no job that needs its device, it is about to, if it can be told
// when it does.
func (q *Queue) goesAway(t *taker) {
	if t.ID != nil && !q.closed && t.computing == 0 && !slices.Contains(q.takers, t) && !slices.Contains(q.returning, t) {
		q.returning = append(q.returning, t)
		q.expectReturning()
	}
}

// Leave tells that the taker with an ID, which has no job and does not wait, is not going to take again soon: it counts
// as free no more. Take undoes that.
func (q *Queue) Leave(id any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.returning = slices.DeleteFunc(q.returning, func(t *taker) bool {
		if t.ID != id {
			return false
		}
		t.expect(nil)
		return true
	})
	q.expectReturning()
}

// expect notes which job a taker that is about to wait is likely to get, nil for none.
func (t *taker) expect(e *active) {
	if t.expected != nil {
		t.expected.expects = nil
	}
	if t.expected = e; e != nil {
		e.expects = t
	}
}

// expectReturning finds a job that waits for each taker that is about to. It takes up no room any more, and the taker is
// not free for another.
func (q *Queue) expectReturning() {
	for _, t := range q.returning {
		if !t.reserved && t.expected == nil {
			t.expect(q.likely(t))
		}
	}
}

func (q *Queue) likely(t *taker) *active {
	for _, o := range q.turns {
		for _, e := range o.jobs {
			if e.expects == nil && q.ready(e) && t.can(&e.job) {
				return e
			}
		}
	}
	return nil
}

// free is a taker for a job that is about to be accepted, nil if there is none: one that waits, else one that is about to.
func (q *Queue) free(j *Job) *taker {
	for _, list := range [][]*taker{q.takers, q.returning} {
		for _, t := range list {
			if !t.reserved && t.expected == nil && t.can(j) {
				return t
			}
		}
	}
	return nil
}

// expected counts the jobs of an owner, of all for nil, that wait for no more than a taker that is about to.
func (q *Queue) expected(owner *string) (n int) {
	for _, t := range q.returning {
		if t.expected != nil && (owner == nil || t.expected.job.Owner == *owner) {
			n++
		}
	}
	return n
}
