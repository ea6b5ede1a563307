package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Who observes the queue has every event of every job, in order, and first of what a former process left.
func TestObserve(t *testing.T) {
	var seen []string
	observe := func(j *Job, e Event) {
		if j.ID != e.Job || e.Kind == KindState && j.State != e.State {
			t.Errorf("job %s is %s in event %+v", j.ID, j.State, e)
		}
		seen = append(seen, strings.TrimSpace(fmt.Sprint(e.Job, " ", e.Kind, " ", e.State)))
	}
	j := openJournal(t, JournalOptions{})
	for _, left := range []Job{{ID: "attached", State: Queued, Attached: true}, {ID: "a", State: Queued}} {
		if _, _, err := j.Accept(left); err != nil {
			t.Fatal(err)
		}
	}
	q, err := NewQueue(j, QueueOptions{Capacity: 8, Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	l, err := q.Take(t.Context(), Taker{})
	if err != nil {
		t.Fatal(err)
	}
	l.Event(Event{Kind: KindStep, Step: 1, Steps: 1})
	l.Retry(&Error{Kind: "x", Message: "x"})
	if l, err = q.Take(t.Context(), Taker{}); err != nil {
		t.Fatal(err)
	}
	if err := l.Done(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.Submit(Job{ID: "b", State: Queued}); err != nil {
		t.Fatal(err)
	}
	if _, err := q.Cancel("b", ""); err != nil {
		t.Fatal(err)
	}
	q.Close()
	want := []string{"attached state cancelled", "a state queued", "a state running", "a step", "a state interrupted", "a state running", "a state done", "b state queued", "b state cancelled"}
	if !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
}
