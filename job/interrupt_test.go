package job

import (
	"errors"
	"slices"
	"testing"
)

// A job that is computed is asked once to end with what there is, and its watchers learn of it; its next attempt
// is not.
func TestInterrupt(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	if _, err := q.Interrupt("a"); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	submit(t, q, Job{ID: "a"})
	if j, err := q.Interrupt("a"); !errors.Is(err, ErrNotRunning) || j.State != Queued {
		t.Errorf("one that waits: %+v, %v", j, err)
	}
	events, err := q.Watch(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	first := take(t, q, Taker{})
	stopped := func(l *Lease) bool {
		select {
		case <-l.Stop():
			return true
		default:
			return false
		}
	}
	if stopped(first) {
		t.Error("it is stopped before anybody wants that")
	}
	for range 2 {
		if j, err := q.Interrupt("a"); err != nil || j.State != Running || !stopped(first) || first.Context().Err() != nil {
			t.Errorf("%+v, %v, %v", j, err, first.Context().Err())
		}
	}
	if _, live, err := q.Job("a"); err != nil || !live.Stopping {
		t.Errorf("%+v, %v", live, err)
	}
	first.Event(Event{Kind: KindStopping}) // is not a taker's to tell
	first.Retry(&Error{Kind: "x", Message: "x"})
	if _, err := q.Interrupt("a"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("one that waits for its next attempt: %v", err)
	}
	second := take(t, q, Taker{})
	if _, live, err := q.Job("a"); err != nil || live.Stopping || stopped(second) {
		t.Errorf("the next attempt: %+v, %v", live, err)
	}
	if _, err := q.Interrupt("a"); err != nil || !stopped(second) {
		t.Errorf("%v", err)
	}
	if err := second.Done(nil, []byte(`{"interrupted":{}}`), nil); err != nil {
		t.Fatal(err)
	}
	if j, err := q.Interrupt("a"); err != nil || j.State != Done {
		t.Errorf("one that has ended: %+v, %v", j, err)
	}
	var kinds []string
	for e := range events {
		kinds = append(kinds, string(e.Kind)+" "+string(e.State))
	}
	if want := []string{"state queued", "state running", "stopping ", "state interrupted", "state running", "stopping ", "state done"}; !slices.Equal(kinds, want) {
		t.Errorf("%q, want %q", kinds, want)
	}
}
