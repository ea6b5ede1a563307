package server

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue gives each of a server's workers to one request at a time, first come, first served.
type queue struct {
	capacity int // requests that may wait
	workers  int

	mu      sync.Mutex
	free    []int             // workers that no request has, the one that is free for longest first
	began   map[int]time.Time // when each worker that is in use was acquired
	down    map[int]bool      // workers that failed and could not be loaded again yet
	last    time.Duration     // for which a worker was in use
	waiting []chan slot       // each has room for one
}

// slot is a worker to compute on, or the reason why there is none.
type slot struct {
	worker int
	err    error
}

// acquire waits for a worker, which release gives back. It fails at once if the queue is full or all workers are down,
// and with ctx's cause when ctx ends first.
func (q *queue) acquire(ctx context.Context) (worker int, err error) {
	q.mu.Lock()
	if len(q.down) == q.workers {
		q.mu.Unlock()
		return 0, &failure{kind: deviceLost}
	}
	if len(q.free) > 0 {
		defer q.mu.Unlock()
		return q.take(), nil
	}
	if len(q.waiting) >= q.capacity {
		defer q.mu.Unlock()
		return 0, &failure{kind: queueFull, retry: q.estimate()}
	}
	mine := make(chan slot, 1)
	q.waiting = append(q.waiting, mine)
	q.mu.Unlock()

	select {
	case s := <-mine:
		return s.worker, s.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, mine); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else if s := <-mine; s.err == nil { // a worker was assigned at the same moment
		q.put(s.worker)
	}
	return 0, context.Cause(ctx)
}

// take removes the worker that is free for longest.
func (q *queue) take() int {
	w := q.free[0]
	q.free = slices.Delete(q.free, 0, 1)
	if q.began == nil {
		q.began = map[int]time.Time{}
	}
	q.began[w] = time.Now()
	return w
}

// tryAcquire takes one particular worker if it is free; release gives it back.
func (q *queue) tryAcquire(worker int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.free, worker)
	if i < 0 {
		return false
	}
	q.free = slices.Delete(q.free, i, i+1)
	return true
}

// estimate is the time until a worker is free, if the requests that compute take as long as the one before them.
func (q *queue) estimate() time.Duration {
	var longest time.Duration
	for _, began := range q.began {
		longest = max(longest, time.Since(began))
	}
	return q.last - longest
}

// release gives a worker back after its work.
func (q *queue) release(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if began, computed := q.began[worker]; computed { // else tryAcquire took it
		q.last = time.Since(began)
	}
	q.put(worker)
}

// add adds a worker that is new, or was loaded again.
func (q *queue) add(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.down, worker)
	q.put(worker)
}

// put makes a worker free and assigns it to the first request that waits.
func (q *queue) put(worker int) {
	delete(q.began, worker)
	q.free = append(q.free, worker)
	if len(q.waiting) == 0 {
		return
	}
	q.waiting[0] <- slot{worker: q.take()}
	q.waiting = slices.Delete(q.waiting, 0, 1)
}

// markDown notes that a worker can't be loaded again yet. When all are down, the requests that wait fail.
func (q *queue) markDown(worker int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.began, worker)
	if q.down == nil {
		q.down = map[int]bool{}
	}
	q.down[worker] = true
	if len(q.down) < q.workers {
		return
	}
	for _, w := range q.waiting {
		w <- slot{err: &failure{kind: deviceLost}}
	}
	q.waiting = nil
}
