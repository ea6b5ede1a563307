package server

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue gives each of a server's workers to one at a time, first come, first served.
type queue struct {
	places  int // for those who wait
	workers int

	mu      sync.Mutex
	free    []int             // workers that nobody has
	began   map[int]time.Time // when who has a worker got it
	missing map[int]bool      // workers that failed and could not be brought back yet
	last    time.Duration
	waiting []chan turn // each holds one
}

// turn is a worker's, or the reason why there is none.
type turn struct {
	worker int
	err    error
}

// enter waits for a worker, to be given back by leave. It fails at once where all places are taken or all workers are missing, and with
// ctx's cause when that ends first, which frees the place.
func (q *queue) enter(ctx context.Context) (worker int, err error) {
	q.mu.Lock()
	if len(q.missing) == q.workers {
		q.mu.Unlock()
		return 0, &failure{kind: deviceLost}
	}
	if len(q.free) > 0 {
		defer q.mu.Unlock()
		return q.take(), nil
	}
	if len(q.waiting) >= q.places {
		defer q.mu.Unlock()
		return 0, &failure{kind: queueFull, retry: q.estimate()}
	}
	mine := make(chan turn, 1)
	q.waiting = append(q.waiting, mine)
	q.mu.Unlock()

	select {
	case t := <-mine:
		return t.worker, t.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, mine); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else if t := <-mine; t.err == nil { // the turn came at the same moment: pass it on
		q.give(t.worker)
	}
	return 0, context.Cause(ctx)
}

// take takes the worker that was free for longest.
func (q *queue) take() int {
	w := q.free[0]
	q.free = slices.Delete(q.free, 0, 1)
	if q.began == nil {
		q.began = map[int]time.Time{}
	}
	q.began[w] = time.Now()
	return w
}

// claim takes one worker if nobody has it, to be given back by leave.
func (q *queue) claim(worker int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.free, worker)
	if i < 0 {
		return false
	}
	q.free = slices.Delete(q.free, i, i+1)
	return true
}

// estimate is when a place will be free if those who compute take as long as the one before them.
func (q *queue) estimate() time.Duration {
	var longest time.Duration
	for _, began := range q.began {
		longest = max(longest, time.Since(began))
	}
	return q.last - longest
}

// leave gives a worker back after its work.
func (q *queue) leave(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if began, computed := q.began[worker]; computed { // else it was claimed
		q.last = time.Since(began)
	}
	q.give(worker)
}

// join adds a worker that is new, or back.
func (q *queue) join(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.missing, worker)
	q.give(worker)
}

// give hands a worker to the first who waits.
func (q *queue) give(worker int) {
	delete(q.began, worker)
	q.free = append(q.free, worker)
	if len(q.waiting) == 0 {
		return
	}
	q.waiting[0] <- turn{worker: q.take()}
	q.waiting = slices.Delete(q.waiting, 0, 1)
}

// miss notes that a worker can't be brought back. When all are missing, nobody waits any more.
func (q *queue) miss(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.began, worker)
	if q.missing == nil {
		q.missing = map[int]bool{}
	}
	q.missing[worker] = true
	if len(q.missing) < q.workers {
		return
	}
	for _, w := range q.waiting {
		w <- turn{err: &failure{kind: deviceLost}}
	}
	q.waiting = nil
}
