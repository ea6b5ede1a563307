package job

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A job goes from Submit to Done, and its record says so.
func TestJobIsDone(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a", Owner: "ann", Request: []byte(`{"prompt":"x"}`), Parameters: []byte(`{}`), Warnings: []string{"w"}})
	l := take(t, q, Taker{})
	if j := l.Job(); j.State != Running || string(j.Request) != `{"prompt":"x"}` || j.Attempts != 1 {
		t.Errorf("%+v", j)
	}
	if err := l.Done([]Blob{{ID: "out", Bytes: 3}}, []byte(`{"steps":2}`), []string{"cut"}); err != nil {
		t.Fatal(err)
	}
	j, err := q.journal.Get("a")
	if err != nil || j.State != Done || string(j.Parameters) != `{"steps":2}` || j.Outputs[0].ID != "out" || j.Attempts != 1 || j.Started.IsZero() || j.Ended.IsZero() || len(j.Warnings) != 2 {
		t.Errorf("%+v, %v", j, err)
	}
	if err := l.Done(nil, nil, nil); !errors.Is(err, ErrLeaseEnded) {
		t.Errorf("a second end: %v", err)
	}
	l.Fail(&Error{Kind: "x", Message: "x"}, nil)
	l.Retry(&Error{Kind: "x", Message: "x"})
	l.Cancelled()
	if j, _, err := q.Job("a"); err != nil || j.State != Done {
		t.Errorf("%+v, %v", j, err)
	}
	if j, err := q.Cancel("a", "ann"); err != nil || j.State != Done {
		t.Errorf("cancelled after its end: %+v, %v", j, err)
	}
	if _, err := q.Cancel("none", ""); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// A job that is cancelled while it runs ends its lease's context, and is Cancelled whatever its taker does then.
func TestCancelRunning(t *testing.T) {
	for name, end := range map[string]func(*Lease) error{
		"done":      func(l *Lease) error { return l.Done(nil, nil, nil) },
		"fail":      func(l *Lease) error { l.Fail(&Error{Kind: "x", Message: "x"}, nil); return ErrCancelled },
		"return":    func(l *Lease) error { l.Return(&Error{Kind: "x", Message: "x"}); return ErrCancelled },
		"retry":     func(l *Lease) error { l.Retry(&Error{Kind: "x", Message: "x"}); return ErrCancelled },
		"cancelled": func(l *Lease) error { l.Cancelled(); return ErrCancelled },
	} {
		q := newQueue(t, QueueOptions{Capacity: 10})
		submit(t, q, Job{ID: "a"})
		l := take(t, q, Taker{})
		j, err := q.Cancel("a", "ann")
		if err != nil || j.State != Cancelled || j.Error == nil || !strings.Contains(j.Error.Message, "ann") || !errors.Is(context.Cause(l.Context()), ErrCancelled) {
			t.Errorf("%s: %+v, %v, %v", name, j, err, context.Cause(l.Context()))
		}
		if err := end(l); !errors.Is(err, ErrCancelled) {
			t.Errorf("%s: %v", name, err)
		}
		if j, err := q.journal.Get("a"); err != nil || j.State != Cancelled {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
		if s := q.Stats(); s.Computing != 0 || s.Waiting != 0 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// The device learns of a cancellation before the disk does.
func TestCancelDoesNotWaitForTheDisk(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a"})
	l := take(t, q, Taker{})
	<-l.recorded
	q.journal.committing.Lock() // as while another transaction is synced
	cancelled := make(chan error)
	go func() {
		_, err := q.Cancel("a", "")
		cancelled <- err
	}()
	<-l.Context().Done()
	if j, _, err := q.Job("a"); err != nil || j.State != Running {
		t.Errorf("%s, %v", j.State, err)
	}
	q.journal.committing.Unlock()
	if err := <-cancelled; err != nil {
		t.Error(err)
	}
}

// A lease that its taker cancels is a cancelled job.
func TestTakerCancels(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a"})
	take(t, q, Taker{}).Cancelled()
	if j, err := q.journal.Get("a"); err != nil || j.State != Cancelled {
		t.Errorf("%+v, %v", j, err)
	}
}

// Of the end of a job and its cancellation at the same moment, one wins, and all agree which.
func TestCancelAtTheEnd(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	for i := range 50 {
		id := fmt.Sprint(i)
		submit(t, q, Job{ID: id})
		l := take(t, q, Taker{})
		var group sync.WaitGroup
		var done, cancelled error
		var j Job
		group.Go(func() { done = l.Done(nil, nil, nil) })
		group.Go(func() { j, cancelled = q.Cancel(id, "") })
		group.Wait()
		kept, err := q.journal.Get(id)
		if err != nil || cancelled != nil || j.State != kept.State || (done == nil) != (kept.State == Done) || done != nil && !errors.Is(done, ErrCancelled) {
			t.Fatalf("done: %v, cancelled: %v, returned %s, recorded %s, %v", done, cancelled, j.State, kept.State, err)
		}
	}
}

// With no room to wait, a job is accepted as long as a taker waits for one like it.
func TestNoRoom(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan *Lease, 1)
	go func() {
		l, _ := q.Take(ctx, Taker{Can: func(j *Job) bool { return j.Model == "x" }})
		got <- l
	}()
	for q.Stats().Idle == 0 {
		runtime.Gosched()
	}
	var full *FullError
	if _, _, err := q.Submit(Job{ID: "a", Model: "y"}); !errors.As(err, &full) || full.Limit != 0 {
		t.Errorf("a job that nobody can compute: %v", err)
	}
	submit(t, q, Job{ID: "b", Model: "x"})
	if l := <-got; l.Job().ID != "b" {
		t.Errorf("%+v", l.Job())
	}
	if _, _, err := q.Submit(Job{ID: "c", Model: "x"}); !errors.As(err, &full) {
		t.Errorf("a second job: %v", err)
	}
	if _, err := q.journal.Get("c"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a job that was refused: %v", err)
	}
	cancel()
	if l, err := q.Take(ctx, Taker{}); l != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %v", l, err)
	}
}

// A full queue says when there is room again: as the job that is nearest to its end says, else as the last one took.
func TestFullEstimates(t *testing.T) {
	c := newClock()
	q := newQueue(t, QueueOptions{Now: c.Now, PerOwner: 2, Capacity: 4})
	retry := func(owner string) time.Duration {
		t.Helper()
		var full *FullError
		if _, _, err := q.Submit(Job{ID: "x", Owner: owner}); !errors.As(err, &full) {
			t.Fatalf("%v", err)
		}
		return full.Retry
	}
	submit(t, q, Job{ID: "0"})
	l := take(t, q, Taker{})
	c.add(10 * time.Second)
	l.Released()
	c.add(time.Hour) // on its way to the disk
	if s := q.Stats(); s.Computing != 0 || s.Free != 0 {
		t.Errorf("%+v", s)
	}
	if err := l.Done(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	submit(t, q, Job{ID: "1"})
	take(t, q, Taker{})
	c.add(3 * time.Second)
	for id, owner := range map[string]string{"2": "ann", "3": "ann", "4": "bob", "5": "bob"} {
		submit(t, q, Job{ID: id, Owner: owner})
	}
	if got := retry("eve"); got != 7*time.Second {
		t.Errorf("%v, want 7s", got)
	}
	l = take(t, q, Taker{})
	l.Event(Event{Kind: KindStep, Step: 1, Steps: 2, Left: 2 * time.Second})
	if got := q.Stats().Free; got != 2*time.Second {
		t.Errorf("%v, want 2s", got)
	}
	// The owner who has two waiting is told how long until one of his is taken: at once if it is his turn.
	other := "ann"
	if l.Job().Owner == "ann" {
		other = "bob"
	}
	if got := retry(other); got != 2*time.Second {
		t.Errorf("%v, want 2s", got)
	}
	c.add(time.Hour)
	if got := q.Stats().Free; got != 0 && got != 2*time.Second {
		t.Errorf("%v: must not be negative", got)
	}
}

// A job that is returned waits again, and however often that happens, it has all its attempts left.
func TestReturnCountsNoAttempt(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 2, MaxAttempts: 1})
	submit(t, q, Job{ID: "a"})
	for range 3 {
		l := take(t, q, Taker{})
		if l.Job().Attempts != 1 {
			t.Errorf("attempt %d", l.Job().Attempts)
		}
		l.Return(&Error{Kind: "other_model", Message: "no such model"})
		if j, live, err := q.Job("a"); err != nil || j.State != Interrupted || j.Attempts != 0 || j.Error.Kind != "other_model" || live.Position != 1 {
			t.Fatalf("%+v, %+v, %v", j, live, err)
		}
	}
	l := take(t, q, Taker{})
	if l.Retry(&Error{Kind: "device_failed", Message: "no"}); l.Context().Err() == nil {
		t.Error("the lease goes on")
	}
	if j, _, err := q.Job("a"); err != nil || j.State != Failed {
		t.Errorf("%+v, %v", j, err)
	}
}
