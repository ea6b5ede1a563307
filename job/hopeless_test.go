package job

import "testing"

// Jobs that wait and that nobody can compute fail for the reason, without an attempt; those that a taker has do not, nor
// those of which nothing is said.
func TestFailWaiting(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 10})
	submit(t, q, Job{ID: "running", Model: "x"})
	l := take(t, q, Taker{})
	submit(t, q, Job{ID: "a", Model: "x"})
	submit(t, q, Job{ID: "b", Model: "y"})
	submit(t, q, Job{ID: "c", Model: "x", Owner: "anna"})
	events, err := q.Watch(t.Context(), "a", 0)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	q.FailWaiting(func(j *Job) *Error {
		if asked++; j.Model == "y" {
			return nil
		}
		return &Error{Kind: "k", Message: "nobody has " + j.Model}
	})
	if asked != 3 {
		t.Errorf("asked of %d jobs", asked)
	}
	for id, want := range map[string]State{"running": Running, "a": Failed, "b": Queued, "c": Failed} {
		j, live, err := q.Job(id)
		if err != nil || j.State != want || want == Failed && (j.Error.Message != "nobody has x" || j.Attempts != 0) || want == Queued && live.Position != 1 {
			t.Errorf("%s is %s at %d, %v, %v", id, j.State, live.Position, j.Error, err)
		}
		if kept, err := q.journal.Get(id); err != nil || want == Failed && kept.State != Failed {
			t.Errorf("%s is recorded as %s, %v", id, kept.State, err)
		}
	}
	last := Event{}
	for e := range events {
		last = e
	}
	if last.State != Failed {
		t.Errorf("the last event is %+v", last)
	}
	if err := l.Done(nil, nil, nil); err != nil {
		t.Error(err)
	}
}
