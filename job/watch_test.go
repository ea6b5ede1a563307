package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// watch watches a job until the test ends.
func watch(t testing.TB, q *Queue, id string, after uint64) <-chan Event {
	t.Helper()
	events, err := q.Watch(t.Context(), id, after)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// told is an event in short.
func told(e Event) string {
	switch e.Kind {
	case KindState:
		return fmt.Sprintf("%s %d", e.State, e.Position)
	case KindStep:
		return fmt.Sprintf("step %d/%d", e.Step, e.Steps)
	case KindLoading:
		return fmt.Sprintf("loading %g", e.Percent)
	case KindPreview:
		return fmt.Sprintf("preview %d", e.Image)
	}
	return string(e.Kind) + " " + e.Warning
}

// expect reads events from a channel, and wants these.
func expect(t testing.TB, events <-chan Event, want ...string) (last Event) {
	t.Helper()
	for i, w := range want {
		e, open := <-events
		if !open {
			t.Fatalf("the channel is closed before event %d, %s", i, w)
		}
		if got := told(e); got != w {
			t.Fatalf("event %d is %q, want %q", i, got, w)
		}
		if e.Seq <= last.Seq {
			t.Fatalf("event %d has Seq %d after %d", i, e.Seq, last.Seq)
		}
		last = e
	}
	return last
}

func expectEnd(t testing.TB, events <-chan Event) {
	t.Helper()
	if e, open := <-events; open {
		t.Fatalf("another event: %q", told(e))
	}
}

// A watcher learns all of a job, one that comes later what was before, and one that comes back what it has missed.
func TestWatch(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "first"})
	submit(t, q, Job{ID: "a"})
	early := watch(t, q, "a", 0)
	expect(t, early, "queued 2")
	first := take(t, q, Taker{})
	expect(t, early, "queued 1")
	l := take(t, q, Taker{})
	seen := expect(t, early, "running 0")
	l.Event(Event{Kind: KindLoading, Percent: 50})
	if _, live, err := q.Job("a"); err != nil || live.Loading != 50 {
		t.Errorf("%+v, %v", live, err)
	}
	l.Event(Event{Kind: KindStep, Step: 1, Steps: 2, Left: time.Second})
	l.Event(Event{Kind: KindState, State: Done}) // not the taker's to say
	l.Event(Event{Kind: KindWarning, Warning: "cut"})
	if _, live, err := q.Job("a"); err != nil || live != (Live{Step: 1, Steps: 2, Left: time.Second}) {
		t.Errorf("%+v, %v", live, err)
	}
	expect(t, early, "loading 50", "step 1/2", "warning cut")
	late, back := watch(t, q, "a", 0), watch(t, q, "a", seen.Seq)
	expect(t, late, "queued 1", "running 0", "loading 50", "step 1/2", "warning cut")
	expect(t, back, "loading 50", "step 1/2", "warning cut")
	l.Event(Event{Kind: KindPreview, Image: 1, Preview: []byte("jpeg"), PreviewType: "image/jpeg"})
	if err := l.Done(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	l.Event(Event{Kind: KindStep, Step: 2, Steps: 2}) // too late
	for _, events := range []<-chan Event{early, late, back} {
		expect(t, events, "preview 1", "done 0")
		expectEnd(t, events)
	}
	ended := watch(t, q, "a", seen.Seq)
	last := expect(t, ended, "done 0")
	expectEnd(t, ended)
	again := watch(t, q, "a", last.Seq)
	if e := <-again; e.Seq != last.Seq || e.State != Done {
		t.Errorf("%+v after %d", e, last.Seq)
	}
	first.Fail(&Error{Kind: "device_failed", Message: "no"}, errors.New("cause"))
	failed := watch(t, q, "first", 0)
	if e := expect(t, failed, "failed 0"); e.Error == nil || e.Error.Kind != "device_failed" {
		t.Errorf("%+v", e.Error)
	}
	if _, err := q.Watch(t.Context(), "none", 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
}

// An id that is none of the job's, as one of a clock that ran ahead, starts at the beginning.
func TestWatchAfterTheFuture(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a"})
	expect(t, watch(t, q, "a", 1<<63), "queued 1")
}

// The numbers of events grow over a restart.
func TestSeqAfterRestart(t *testing.T) {
	c := newClock()
	j := openJournal(t, JournalOptions{Now: c.Now})
	q, err := NewQueue(j, QueueOptions{Capacity: 10, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	submit(t, q, Job{ID: "a"})
	before := expect(t, watch(t, q, "a", 0), "queued 1")
	q.Close()
	c.add(time.Second)
	q, err = NewQueue(j, QueueOptions{Capacity: 10, Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if after := expect(t, watch(t, q, "a", before.Seq), "queued 1"); after.Seq <= before.Seq {
		t.Errorf("Seq %d, then %d", before.Seq, after.Seq)
	}
}

// A watcher that does not read loses steps, percents and previews, but no state or warning, and holds nobody up.
func TestSlowWatcher(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10, MaxAttempts: 100, Events: 100})
	submit(t, q, Job{ID: "a"})
	slow := watch(t, q, "a", 0)
	const attempts, steps = 10, 50
	for range attempts {
		l := take(t, q, Taker{})
		l.Event(Event{Kind: KindWarning, Warning: "w"})
		for i := range steps {
			l.Event(Event{Kind: KindStep, Step: i + 1, Steps: steps})
			l.Event(Event{Kind: KindPreview, Preview: make([]byte, 1000)})
		}
		l.Retry(&Error{Kind: "device_failed", Message: "no"})
	}
	q.mu.Lock()
	kept := len(q.active["a"].history.events)
	q.mu.Unlock()
	if kept > 100 {
		t.Errorf("%d events are kept", kept)
	}
	if _, err := q.Cancel("a", "ann"); err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	var last Event
	for e := range slow {
		if e.Seq <= last.Seq {
			t.Errorf("Seq %d after %d", e.Seq, last.Seq)
		}
		last = e
		name := string(e.Kind)
		if e.Kind == KindState {
			name = string(e.State)
		}
		counts[name]++
	}
	if counts["running"] != attempts || counts["interrupted"] != attempts || counts["warning"] != attempts || last.State != Cancelled {
		t.Errorf("%v, the last is %s", counts, last.State)
	}
	if counts["preview"] > 2 || counts["step"] > maxBehind {
		t.Errorf("it was told too much: %v", counts)
	}
}

// Many moves in the queue are one for a watcher that does not read meanwhile.
func TestPositionsAreMerged(t *testing.T) {
	b := backlog{limit: maxBehind}
	b.add(Event{Kind: KindState, State: Interrupted, Seq: 1})
	for i := range 1000 {
		b.add(Event{Kind: KindState, State: Queued, Position: 1000 - i, Seq: uint64(i + 2)})
	}
	b.add(Event{Kind: KindState, State: Running, Seq: 2000})
	if len(b.events) != 3 || b.events[1].Position != 1 {
		t.Errorf("%d events: %+v", len(b.events), b.events)
	}
}

// A watcher's channel is closed with its context, and when the queue is closed while the job waits.
func TestWatchEnds(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a"})
	submit(t, q, Job{ID: "b"})
	l := take(t, q, Taker{})
	ctx, cancel := context.WithCancel(t.Context())
	mine, err := q.Watch(ctx, "b", 0)
	if err != nil {
		t.Fatal(err)
	}
	running, waiting := watch(t, q, "a", 0), watch(t, q, "b", 0)
	expect(t, mine, "queued 1")
	cancel()
	expectEnd(t, mine)
	q.Close()
	expect(t, waiting, "queued 1")
	expectEnd(t, waiting)
	late := watch(t, q, "b", 0)
	expect(t, late, "queued 1")
	expectEnd(t, late)
	expect(t, running, "queued 1", "running 0")
	if cause := context.Cause(l.Context()); !errors.Is(cause, ErrClosed) {
		t.Errorf("%v", cause)
	}
	l.Retry(&Error{Kind: "stopping", Message: "no"})
	expect(t, running, "interrupted 1")
	expectEnd(t, running)
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, e := range q.active {
		if len(e.watchers) != 0 && !slices.Contains([]string{"a", "b"}, id) {
			t.Errorf("%s has %d watchers", id, len(e.watchers))
		}
	}
}
