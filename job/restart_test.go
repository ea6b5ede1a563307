package job

import (
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
)

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
