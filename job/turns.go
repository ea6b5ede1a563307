package job

import (
	"cmp"
	"slices"
)

// owner has jobs that wait.
type owner struct {
	name string
	jobs []*active // by priority, those that had an attempt first, then by Seq
	next int       // of place: the first of jobs that has no position yet
}

// sortsBefore orders the jobs of one owner.
func (e *active) sortsBefore(other *active) int {
	return cmp.Or(
		cmp.Compare(other.job.Priority, e.job.Priority),
		compareBool(other.job.State == Interrupted, e.job.State == Interrupted),
		cmp.Compare(e.job.Seq, other.job.Seq),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// enqueue lets a job wait.
func (q *Queue) enqueue(e *active) {
	i := slices.IndexFunc(q.turns, func(o *owner) bool { return o.name == e.job.Owner })
	if i < 0 {
		i = len(q.turns)
		q.turns = append(q.turns, &owner{name: e.job.Owner})
	}
	o := q.turns[i]
	at, _ := slices.BinarySearchFunc(o.jobs, e, (*active).sortsBefore)
	o.jobs = slices.Insert(o.jobs, at, e)
	q.waiting++
	q.placed = false
}

// dequeue takes a job out of those that wait. Where it has had its turn, its owner's next one comes after all others.
func (q *Queue) dequeue(e *active, turn bool) {
	i := slices.IndexFunc(q.turns, func(o *owner) bool { return o.name == e.job.Owner })
	o := q.turns[i]
	at := slices.Index(o.jobs, e)
	o.jobs = slices.Delete(o.jobs, at, at+1)
	if turn || len(o.jobs) == 0 {
		q.turns = slices.Delete(q.turns, i, i+1)
	}
	if turn && len(o.jobs) > 0 {
		q.turns = append(q.turns, o)
	}
	e.live.Position = 0
	if e.expects != nil {
		e.expects.expect(nil)
	}
	q.waiting--
	q.placed = false
}

// place works out the positions of the jobs that wait: in the order in which one taker after another would take them
// that can compute all and prefers none.
func (q *Queue) place() {
	if q.placed {
		return
	}
	q.placed = true
	ring := slices.Clone(q.turns)
	for _, o := range ring {
		o.next = 0
	}
	for position := 0; position < q.waiting; {
		priority := MinPriority
		for _, o := range ring {
			if o.next < len(o.jobs) {
				priority = max(priority, o.jobs[o.next].job.Priority)
			}
		}
		var round, done []*owner // those with jobs of the priority, and those that have had them all
		has := func(o *owner) bool { return o.next < len(o.jobs) && o.jobs[o.next].job.Priority == priority }
		for _, o := range ring {
			if has(o) {
				round = append(round, o)
			}
		}
		ring = slices.DeleteFunc(ring, has)
		for len(round) > 0 {
			left := round[:0]
			for _, o := range round {
				position++
				o.jobs[o.next].live.Position = position
				if o.next++; has(o) {
					left = append(left, o)
				} else {
					done = append(done, o)
				}
			}
			round = left
		}
		ring = append(ring, done...)
	}
}
