package job

import (
	"cmp"
	"slices"
)

// TakeWith gives a taker that has the lease of a job others to compute together with it: jobs that wait, have the same
// Batch and had no attempt before. It does not wait, and gives at most limit. Where so many takers share the work, a
// taker has no more than its fraction of such jobs, those that are computed among them.
//
// Turns and priorities hold: of the jobs that fit, those come first whose turn comes first, and none with a lower
// priority than that of a job which the taker could compute and which is left to wait. So a job waits no longer for
// others whose turn comes after its own than until the batch is computed.
func (q *Queue) TakeWith(l *Lease, t Taker, limit, takers int) (more []*Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || l.over != nil || l.job.Batch == "" || l.job.Attempts > 1 {
		return nil
	}
	q.place()
	var fit, left []*active
	for _, o := range q.turns {
		for _, e := range o.jobs {
			switch {
			case !q.ready(e) || t.Can != nil && !t.Can(&e.job):
			case e.job.Batch == l.job.Batch && e.job.State == Queued:
				fit = append(fit, e)
			default:
				left = append(left, e)
			}
		}
	}
	byPosition := func(a, b *active) int { return cmp.Compare(a.live.Position, b.live.Position) }
	if len(left) > 0 {
		highest := slices.MinFunc(left, byPosition).job.Priority
		fit = slices.DeleteFunc(fit, func(e *active) bool { return e.job.Priority < highest })
	}
	slices.SortFunc(fit, byPosition)
	all := len(fit)
	for other := range q.leases {
		if other.job.Batch == l.job.Batch && !other.released {
			all++
		}
	}
	takers = max(1, takers)
	n := min(limit, (all+takers-1)/takers-1, len(fit))
	if n <= 0 {
		return nil
	}
	last := fit[n-1].live.Position
	for _, e := range left {
		if e.live.Position < last {
			e.passed++
		}
	}
	for _, e := range fit[:n] {
		more = append(more, q.lease(e, l.taker))
	}
	q.expectReturning()
	q.tellPositions()
	return more
}
