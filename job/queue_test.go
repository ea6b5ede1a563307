package job

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// What the former process left is taken up.
func TestRestart(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	for id, c := range map[string]struct {
		state    State
		attempts int
		attached bool
	}{
		"queued": {Queued, 0, false}, "interrupted": {Interrupted, 1, false}, "running": {Running, 1, false}, "worn": {Running, 3, false},
		"attached": {Queued, 0, true}, "hung up": {Running, 1, true}, "done": {Done, 1, false},
	} {
		if _, _, err := j.Accept(Job{ID: id, Attached: c.attached}); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Update(id, func(job *Job) error { job.State, job.Attempts = c.state, c.attempts; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	q, err := NewQueue(j, QueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for id, want := range map[string]State{
		"queued": Queued, "interrupted": Interrupted, "running": Interrupted, "worn": Failed, "attached": Cancelled, "hung up": Cancelled, "done": Done,
	} {
		job, live, err := q.Job(id)
		if err != nil || job.State != want || (live.Position > 0) == want.Ended() || (job.Error != nil) != (id != "queued" && id != "done" && id != "interrupted") {
			t.Errorf("%s: %+v, %+v, %v: want %s", id, job, live, err, want)
		}
		recorded, err := j.Get(id)
		if err != nil || recorded.State != want {
			t.Errorf("%s is recorded as %s, %v", id, recorded.State, err)
		}
	}
	if s := q.Stats(); s.Waiting != 3 {
		t.Errorf("%+v: no room is needed for them", s)
	}
}

// A queue that drains takes no jobs, and gives those whose clients wait; one that is closed keeps what runs, uncounted.
func TestDrainAndClose(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "running"})
	submit(t, q, Job{ID: "attached and running", Attached: true})
	running, attached := take(t, q, Taker{}), take(t, q, Taker{})
	submit(t, q, Job{ID: "stays"})
	submit(t, q, Job{ID: "waits", Attached: true})
	q.Drain()
	if _, _, err := q.Submit(Job{ID: "new"}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if l := take(t, q, Taker{}); l.Job().ID != "waits" || l.Done(nil, nil, nil) != nil {
		t.Errorf("%+v", l.Job())
	}
	ended := make(chan error)
	go func() {
		_, err := q.Take(t.Context(), Taker{})
		ended <- err
	}()
	for q.Stats().Idle == 0 {
		runtime.Gosched()
	}
	q.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if _, err := q.Take(t.Context(), Taker{}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	running.Retry(&Error{Kind: "stopping", Message: "x"})
	attached.Retry(&Error{Kind: "stopping", Message: "x"})
	for id, want := range map[string]Job{"running": {State: Interrupted}, "attached and running": {State: Cancelled, Attempts: 1}, "stays": {State: Queued}, "waits": {State: Done, Attempts: 1}} {
		if j, err := q.journal.Get(id); err != nil || j.State != want.State || j.Attempts != want.Attempts {
			t.Errorf("%s: %+v, %v: want %+v", id, j, err, want)
		}
	}
}

// Where records can't be written, new jobs are refused, a result is refused, and a job that ends otherwise has ended.
func TestUnwrittenRecords(t *testing.T) {
	var log strings.Builder
	q, err := NewQueue(openJournal(t, JournalOptions{}), QueueOptions{Capacity: 10, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for _, id := range []string{"a", "b", "c", "d"} {
		submit(t, q, Job{ID: id})
	}
	a, b := take(t, q, Taker{}), take(t, q, Taker{})
	<-a.recorded
	<-b.recorded
	full := errors.New("no space left on device")
	q.journal.broken = full
	defer func() { q.journal.broken = nil }()
	if _, _, err := q.Submit(Job{ID: "e"}); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	if _, _, err := q.Job("e"); !errors.Is(err, ErrUnknown) {
		t.Errorf("a job that was not accepted: %v", err)
	}
	if err := a.Done(nil, nil, nil); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	a.Fail(&Error{Kind: "journal", Message: "x"}, nil)
	b.Retry(&Error{Kind: "x", Message: "x"})
	if _, err := q.Cancel("c", ""); !errors.Is(err, full) {
		t.Errorf("%v", err)
	}
	for id, want := range map[string]State{"a": Failed, "b": Interrupted, "c": Cancelled, "d": Queued} {
		if j, _, err := q.Job(id); err != nil || j.State != want {
			t.Errorf("%s: %s, %v: want %s", id, j.State, err, want)
		}
	}
	events := watch(t, q, "a", 0)
	expect(t, events, "queued 1", "running 0", "failed 0")
	expectEnd(t, events)
	if s := q.Stats(); s.Waiting != 2 || s.Computing != 0 {
		t.Errorf("%+v", s)
	}
	if n := strings.Count(log.String(), "could not be written"); n != 3 {
		t.Errorf("log:\n%s", log.String())
	}
}
