package job

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// accepts tells whether a job is accepted, or refused since there is no room.
func accepts(t *testing.T, q *Queue, j Job) bool {
	t.Helper()
	_, _, err := q.Submit(j)
	var full *FullError
	if err != nil && !errors.As(err, &full) {
		t.Fatal(err)
	}
	return err == nil
}

// gone is a context that has ended.
func gone(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// A taker whose device is free counts as one that waits until it does, for one job.
func TestReleasedTakerIsFree(t *testing.T) {
	for name, end := range map[string]func(*Queue, *Lease) error{
		"done":      func(_ *Queue, l *Lease) error { return l.Done(nil, nil, nil) },
		"cancelled": func(q *Queue, l *Lease) error { _, err := q.Cancel(l.Job().ID, ""); return err },
		"computing": func(*Queue, *Lease) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t, QueueOptions{Capacity: 1, PerOwner: 1})
			ann := Taker{ID: "ann", Can: func(j *Job) bool { return j.Model == "x" }}
			submit(t, q, Job{ID: "1", Model: "x"})
			l := take(t, q, ann)
			if err := end(q, l); err != nil {
				t.Fatal(err)
			}
			submit(t, q, Job{ID: "2", Model: "x"}) // the one that may wait
			if accepts(t, q, Job{ID: "3", Model: "x"}) {
				t.Error("a job is accepted for a device that is not free")
			}
			l.Released()
			l.Released()
			if accepts(t, q, Job{ID: "4", Model: "y"}) != true {
				t.Error("the job that the device is going to compute takes up room")
			}
			if accepts(t, q, Job{ID: "5", Model: "x"}) {
				t.Error("a device counts for two jobs")
			}
			if got := take(t, q, ann).Job().ID; got != "2" {
				t.Errorf("the device got %s", got)
			}
			if accepts(t, q, Job{ID: "6", Model: "x"}) {
				t.Error("a device that computes counts as free")
			}
		})
	}
}

// With no room to wait, a job comes to a device that is about to wait, and only one that it can compute.
func TestReturningTakerCan(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	able := true
	ann := Taker{ID: "ann", Can: func(j *Job) bool { return able && j.Model == "x" }}
	if _, err := q.Take(gone(t), ann); err == nil || accepts(t, q, Job{ID: "0", Model: "x"}) {
		t.Error("a taker that never waited counts")
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error)
	go func() {
		_, err := q.Take(ctx, ann)
		over <- err
	}()
	for q.Stats().Idle == 0 {
	}
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if accepts(t, q, Job{ID: "1", Model: "y"}) {
		t.Error("a job that the taker can't compute is accepted")
	}
	if able = false; accepts(t, q, Job{ID: "2", Model: "x"}) {
		t.Error("a taker whose device is lost counts")
	}
	if able = true; !accepts(t, q, Job{ID: "3", Model: "x"}) {
		t.Error("a taker that looks at its device between two waits does not count")
	}
	if accepts(t, q, Job{ID: "4", Model: "x"}) {
		t.Error("it counts for two jobs")
	}
	if _, err := q.Cancel("3", ""); err != nil {
		t.Fatal(err)
	}
	if !accepts(t, q, Job{ID: "5", Model: "x"}) {
		t.Error("it is not free again after a cancelled job")
	}
	if got := take(t, q, ann).Job().ID; got != "5" {
		t.Errorf("it got %s", got)
	}
}

// Who goes away for good, or is nobody in particular, counts no more.
func TestLeave(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 1})
	for i, c := range []struct {
		taker Taker
		leave bool
		want  bool
	}{{Taker{ID: 7}, false, true}, {Taker{ID: 8}, true, false}, {Taker{}, false, false}} {
		submit(t, q, Job{ID: fmt.Sprint("computed", i)})
		l := take(t, q, c.taker)
		l.Released()
		if c.leave {
			q.Leave(c.taker.ID)
		}
		q.Leave("another")
		submit(t, q, Job{ID: fmt.Sprint("waits", i)})
		if got := accepts(t, q, Job{ID: fmt.Sprint("more", i)}); got != c.want {
			t.Errorf("%d: a second job is accepted: %v, want %v", i, got, c.want)
		}
		for q.Stats().Waiting > 0 { // whose room is for the next case
			take(t, q, c.taker).Fail(&Error{Kind: "x", Message: "x"}, nil)
		}
		q.Leave(c.taker.ID)
	}
	submit(t, q, Job{ID: "taken"})
	if l := take(t, q, Taker{ID: 8}); l.Job().ID != "taken" { // it may come again
		t.Errorf("%+v", l.Job())
	}
}

// A job that comes back to the queue is for the device that is about to wait, before those that come later.
func TestReturningTakerGetsTheRetry(t *testing.T) {
	q := newQueue(t, QueueOptions{})
	ann := Taker{ID: "ann"}
	go q.Take(t.Context(), Taker{ID: "eve", Can: func(j *Job) bool { return j.Model == "none" }})
	done := make(chan *Lease)
	go func() {
		l, _ := q.Take(t.Context(), ann)
		done <- l
	}()
	for q.Stats().Idle < 2 {
	}
	submit(t, q, Job{ID: "1"})
	l := <-done
	l.Released()
	l.Retry(&Error{Kind: "x", Message: "x"})
	if accepts(t, q, Job{ID: "2"}) {
		t.Error("a job is accepted for a device that has one waiting")
	}
	if got := take(t, q, ann).Job().ID; got != "1" {
		t.Errorf("the device got %s", got)
	}
}

// A device with several jobs is free once it is free of all.
func TestReturningTakerOfSeveralLeases(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 1})
	submit(t, q, Job{ID: "1", Batch: "b"})
	first := take(t, q, Taker{ID: "ann"})
	submit(t, q, Job{ID: "2", Batch: "b"})
	more := q.TakeWith(first, Taker{ID: "ann"}, 1, 1)
	submit(t, q, Job{ID: "3"})
	for i, l := range append(more, first) {
		l.Released()
		if got := accepts(t, q, Job{ID: fmt.Sprint("more", i)}); got != (i == 1) {
			t.Errorf("released %d: another job is accepted: %v", i, got)
		}
	}
}
