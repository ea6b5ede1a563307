package job

import (
	"errors"
	"runtime"
	"testing"
)

// A taker that waits makes room for one job, although the job's record takes a while.
func TestOneTakerIsForOneJob(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	got := make(chan *Lease, 1)
	go func() {
		l, _ := q.Take(t.Context(), Taker{})
		got <- l
	}()
	for q.Stats().Idle == 0 {
		runtime.Gosched()
	}
	q.journal.committing.Lock() // as while another transaction is synced
	accepted := make(chan error)
	go func() {
		_, _, err := q.Submit(Job{ID: "a"})
		accepted <- err
	}()
	for pending := 0; pending == 0; runtime.Gosched() {
		q.journal.mu.Lock()
		pending = len(q.journal.pending)
		q.journal.mu.Unlock()
	}
	if _, _, err := q.Submit(Job{ID: "b"}); !isFull(err) {
		t.Errorf("a second job: %v", err)
	}
	if _, _, err := q.Submit(Job{ID: "a"}); err == nil || isFull(err) {
		t.Errorf("the same id: %v", err)
	}
	q.journal.committing.Unlock()
	if err := <-accepted; err != nil {
		t.Error(err)
	}
	if l := <-got; l.Job().ID != "a" {
		t.Errorf("%+v", l.Job())
	}
}

// Places to wait are kept for jobs whose records are being written, and come back if they can't be.
func TestPlacesAreKept(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 3, PerOwner: 1})
	q.journal.committing.Lock()
	accepted := make(chan error)
	go func() {
		_, _, err := q.Submit(Job{ID: "a", Owner: "ann"})
		accepted <- err
	}()
	for pending := 0; pending == 0; runtime.Gosched() {
		q.journal.mu.Lock()
		pending = len(q.journal.pending)
		q.journal.mu.Unlock()
	}
	var full *FullError
	if _, _, err := q.Submit(Job{ID: "b", Owner: "ann"}); !errors.As(err, &full) || full.Owner != "ann" || full.Limit != 1 {
		t.Errorf("%v", err)
	}
	q.journal.broken = errors.New("no space left on device")
	q.journal.committing.Unlock()
	if err := <-accepted; err == nil {
		t.Error("it was accepted without a record")
	}
	q.journal.broken = nil
	submit(t, q, Job{ID: "b", Owner: "ann"})
}

// A request that comes again with its key gets its job, however full the queue is, and whatever has become of the job.
func TestReplay(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 1})
	first := submit(t, q, Job{ID: "a", Key: "k", KeyHash: "1"})
	again := func(want State) {
		t.Helper()
		j, existed, err := q.Submit(Job{ID: "b", Key: "k", KeyHash: "1"})
		if err != nil || !existed || j.ID != first.ID || j.State != want {
			t.Errorf("%+v, %v, %v", j, existed, err)
		}
	}
	again(Queued)
	if _, _, err := q.Submit(Job{ID: "b", Key: "k", KeyHash: "2"}); !errors.Is(err, ErrKeyReused) {
		t.Errorf("%v", err)
	}
	if _, _, err := q.Submit(Job{ID: "b", Key: "l"}); !isFull(err) {
		t.Errorf("%v", err)
	}
	if err := take(t, q, Taker{}).Done(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	q.Drain()
	again(Done)
}
