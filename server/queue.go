package server

import (
	"context"
	"slices"
	"sync"
	"time"
)

// queue lets one in at a time, first come, first served.
type queue struct {
	places int // for those who wait

	mu      sync.Mutex
	busy    bool
	began   time.Time // when the one inside came in
	last    time.Duration
	waiting []chan struct{} // closed when the turn comes
}

// enter waits for the turn and returns the way out, to be called once. It fails at once where all places are taken, and with ctx's cause
// when that ends first, which frees the place.
func (q *queue) enter(ctx context.Context) (leave func(), err error) {
	q.mu.Lock()
	if !q.busy {
		q.busy, q.began = true, time.Now()
		q.mu.Unlock()
		return q.leave, nil
	}
	if len(q.waiting) >= q.places {
		// A place is free when the one inside leaves. If it takes as long as the one before it:
		retry := q.last - time.Since(q.began)
		q.mu.Unlock()
		return nil, &failure{kind: queueFull, retry: retry}
	}
	turn := make(chan struct{})
	q.waiting = append(q.waiting, turn)
	q.mu.Unlock()

	select {
	case <-turn:
		return q.leave, nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting, turn)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i < 0 { // the turn came at the same moment: pass it on
		q.leave()
	}
	return nil, context.Cause(ctx)
}

func (q *queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.last = now.Sub(q.began)
	if len(q.waiting) == 0 {
		q.busy = false
		return
	}
	q.began = now
	close(q.waiting[0])
	q.waiting = slices.Delete(q.waiting, 0, 1)
}
