package job

import "time"

// OwnerStats are the jobs of one owner.
type OwnerStats struct{ Waiting, Computing int }

// Stats is how much there is to do.
type Stats struct {
	Waiting   int                   // jobs that no taker has
	Computing int                   // jobs that have a device: taken, and neither ended nor Released
	Idle      int                   // takers that wait for a job
	Owners    map[string]OwnerStats // those with any
	Free      time.Duration         // until a device is likely to be free; 0 if one is, or it is unknown
}

// Stats counts jobs and takers.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{Waiting: q.waiting, Idle: len(q.takers), Owners: map[string]OwnerStats{}, Free: q.estimate()}
	for _, o := range q.turns {
		s.Owners[o.name] = OwnerStats{Waiting: len(o.jobs)}
	}
	for l := range q.leases {
		if !l.released {
			s.Computing++
			of := s.Owners[l.job.Owner]
			of.Computing++
			s.Owners[l.job.Owner] = of
		}
	}
	return s
}

// estimate is the time until a device is free: as the jobs that compute say, else if they take as long as the last one.
func (q *Queue) estimate() (free time.Duration) {
	if len(q.takers) > 0 {
		return 0
	}
	first := true
	for l := range q.leases {
		if l.released {
			continue
		}
		left := l.entry.live.Left
		if left == 0 {
			left = max(0, q.last-q.options.Now().Sub(l.job.Started))
		}
		if first || left < free {
			free, first = left, false
		}
	}
	return free
}

// estimateOf is the time until the first job of an owner is likely to be taken.
func (q *Queue) estimateOf(name string) time.Duration {
	q.place()
	first := 0
	for _, o := range q.turns {
		if o.name == name {
			first = o.jobs[0].live.Position
		}
	}
	computing := 0
	for l := range q.leases {
		if !l.released {
			computing++
		}
	}
	return q.estimate() + q.last*time.Duration(max(0, first-1))/time.Duration(max(1, computing))
}
