package job

import (
	"context"
	"errors"
	"testing"
	"time"
)

// A job goes from Submit to Done, and its record and watchers say so.
func TestJobIsDone(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a", Owner: "ann", Request: []byte(`{"prompt":"x"}`)})
	events, err := q.Watch(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	l := take(t, q, Taker{})
	l.Event(Event{Kind: KindStep, Step: 1, Steps: 2, Left: time.Second})
	if err := l.Done([]Blob{{ID: "out", Bytes: 3}}, []byte(`{"steps":2}`), []string{"cut"}); err != nil {
		t.Fatal(err)
	}
	var states []State
	for e := range events {
		if e.Kind == KindState {
			states = append(states, e.State)
		}
	}
	if len(states) != 3 || states[0] != Queued || states[1] != Running || states[2] != Done {
		t.Errorf("states %v", states)
	}
	j, err := q.journal.Get("a")
	if err != nil || j.State != Done || string(j.Parameters) != `{"steps":2}` || j.Outputs[0].ID != "out" || j.Attempts != 1 || j.Started.IsZero() || j.Ended.IsZero() {
		t.Errorf("%+v, %v", j, err)
	}
	if err := l.Done(nil, nil, nil); !errors.Is(err, ErrLeaseEnded) {
		t.Errorf("a second end: %v", err)
	}
}

// A job that is cancelled while it runs ends its lease's context.
func TestCancelRunning(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "a"})
	l := take(t, q, Taker{})
	j, err := q.Cancel("a", "ann")
	if err != nil || j.State != Cancelled || !errors.Is(context.Cause(l.Context()), ErrCancelled) {
		t.Errorf("%+v, %v, %v", j, err, context.Cause(l.Context()))
	}
	if err := l.Done(nil, nil, nil); !errors.Is(err, ErrCancelled) {
		t.Errorf("%v", err)
	}
	if s := q.Stats(); s.Computing != 0 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}
