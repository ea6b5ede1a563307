package job

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// Whatever clients, watchers and takers do at the same time: each job that was accepted ends once, its watcher learns
// how, and nothing is left behind.
func TestCrowd(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 2, PerOwner: 2, MaxAttempts: 2})
	q.journal.db.NoSync = true // nothing is killed here
	before := runtime.NumGoroutine()
	ctx, stop := context.WithCancel(t.Context())
	var ends sync.Map // id → how often its taker ended it
	var takers, clients sync.WaitGroup
	for n := range 3 {
		takers.Go(func() {
			random := rand.New(rand.NewSource(int64(n)))
			for {
				some, cancel := context.WithCancel(ctx)
				if random.Intn(4) == 0 {
					go cancel() // at any moment of Take
				}
				l, err := q.Take(some, Taker{Prefers: func(j *Job) bool { return j.Model == fmt.Sprint(n) }})
				cancel()
				if ctx.Err() != nil && l == nil {
					return
				}
				if errors.Is(err, context.Canceled) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				count, _ := ends.LoadOrStore(l.Job().ID, new(atomic.Int64))
				l.Event(Event{Kind: KindStep, Step: 1, Steps: 1})
				switch random.Intn(4) {
				case 0:
					l.Retry(&Error{Kind: "x", Message: "x"})
				case 1:
					l.Fail(&Error{Kind: "x", Message: "x"}, nil)
				default:
					l.Released()
					if err := l.Done(nil, nil, nil); err == nil {
						count.(*atomic.Int64).Add(1)
					} else if !errors.Is(err, ErrCancelled) {
						t.Error(err)
					}
				}
			}
		})
	}
	var accepted, refused atomic.Int64
	for n := range 8 {
		clients.Go(func() {
			random := rand.New(rand.NewSource(int64(100 + n)))
			for i := range 40 {
				id := fmt.Sprintf("%d-%d", n, i)
				_, _, err := q.Submit(Job{ID: id, Owner: fmt.Sprint(n % 3), Model: fmt.Sprint(i % 3), Priority: i % 2})
				if isFull(err) {
					refused.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				accepted.Add(1)
				events, err := q.Watch(t.Context(), id, 0)
				if err != nil {
					t.Error(err)
					return
				}
				if random.Intn(3) == 0 {
					if j, err := q.Cancel(id, ""); err != nil || !j.State.Ended() {
						t.Errorf("%s: %s, %v", id, j.State, err)
					}
				}
				var last Event
				for e := range events {
					if e.Seq <= last.Seq || last.terminal() {
						t.Errorf("%s: %+v after %+v", id, e, last)
					}
					last = e
				}
				j, _, err := q.Job(id)
				if err != nil || !last.terminal() || j.State != last.State {
					t.Errorf("%s: %s, %v; the last event is %+v", id, j.State, err, last)
				}
				done := int64(0)
				if count, ok := ends.Load(id); ok && j.State == Done {
					for done = count.(*atomic.Int64).Load(); done == 0; done = count.(*atomic.Int64).Load() {
						runtime.Gosched() // its taker counts after Done
					}
				}
				if (j.State == Done) != (done == 1) {
					t.Errorf("%s is %s, and was done %d times", id, j.State, done)
				}
			}
		})
	}
	clients.Wait()
	stop()
	takers.Wait()
	if s := q.Stats(); s.Waiting != 0 || s.Computing != 0 || s.Idle != 0 || len(s.Owners) != 0 || len(q.accepting) != 0 || len(q.active) != 0 {
		t.Errorf("%+v, %d accepting, %d active", s, len(q.accepting), len(q.active))
	}
	t.Logf("%d accepted, %d refused", accepted.Load(), refused.Load())
	if accepted.Load() < 50 {
		t.Error("nothing was tried")
	}
	for runtime.NumGoroutine() > before { // until the test's time is over
		runtime.Gosched()
	}
}

// Where one taker is warm for what comes in again and again, another's job is passed over three times and no more.
func TestNobodyStarves(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 100})
	submit(t, q, Job{ID: "cold", Owner: "bob", Model: "cold"})
	warm := Taker{Prefers: func(j *Job) bool { return j.Model == "warm" }}
	for i := range 10 {
		submit(t, q, Job{ID: fmt.Sprint(i), Owner: "ann", Model: "warm"})
	}
	for i := range 5 {
		want := fmt.Sprint(i)
		switch i {
		case 3:
			want = "cold"
		case 4:
			want = "3"
		}
		if l := take(t, q, warm); l.Job().ID != want {
			t.Fatalf("take %d is %s, want %s", i, l.Job().ID, want)
		}
	}
}

// A job whose device failed is its owner's next one, although others came before it.
func TestRetryGoesFirst(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 100})
	submit(t, q, Job{ID: "cold", Model: "cold"})
	submit(t, q, Job{ID: "warm", Model: "warm"})
	submit(t, q, Job{ID: "urgent", Priority: 1})
	take(t, q, Taker{}).Cancelled()
	l := take(t, q, Taker{Prefers: func(j *Job) bool { return j.Model == "warm" }})
	l.Retry(&Error{Kind: "device_failed", Message: "no"})
	submit(t, q, Job{ID: "urgent too", Priority: 1})
	for _, want := range []string{"urgent too", "warm", "cold"} {
		if _, live, err := q.Job(want); err != nil || live.Position != 1 {
			t.Errorf("%s: %+v, %v", want, live, err)
		}
		if l := take(t, q, Taker{}); l.Job().ID != want {
			t.Fatalf("%s, want %s", l.Job().ID, want)
		}
	}
}
