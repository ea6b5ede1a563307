package job

import (
	"testing"
	"time"
)

// Outputs of jobs that were done are counted when the jobs are removed, by owner and day, and survive the journal's end.
func TestRemoved(t *testing.T) {
	clock := newClock()
	j := openJournal(t, JournalOptions{Now: clock.Now})
	end := func(id, owner string, created time.Time, state State, outputs ...Blob) {
		t.Helper()
		_, _, err := j.Accept(Job{ID: id, Owner: owner, Created: created})
		if err == nil {
			_, err = j.Update(id, func(j *Job) error {
				j.State, j.Outputs = state, outputs
				if state != Done {
					j.Error = &Error{Kind: "x"}
				}
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	today := clock.Now()
	yesterday := today.Add(-24 * time.Hour)
	want := func(owner string, on time.Time, n int) {
		t.Helper()
		if got, err := j.Removed(owner, on); got != n || err != nil {
			t.Errorf("%s on %v: %d, %v, want %d", owner, on, got, err, n)
		}
	}
	remove := func(ids ...string) {
		t.Helper()
		if err := j.Remove(ids...); err != nil {
			t.Fatal(err)
		}
	}
	end("a", "anna", yesterday, Done, Blob{ID: "1"})
	remove("a")
	want("anna", yesterday, 1)
	end("b", "anna", today, Done, Blob{ID: "2"}, Blob{ID: "3"})
	end("c", "anna", today, Failed)
	end("d", "bert", today, Done, Blob{ID: "4"})
	end("e", "anna", yesterday, Done, Blob{ID: "5"})
	want("anna", today, 0)
	remove("b", "c")
	remove("e") // of a day that is over
	want("anna", today, 2)
	want("anna", yesterday, 0)
	want("bert", today, 0)
	if removed, err := j.Expire(clock.Now().Add(time.Hour), 0, 0); len(removed) != 1 || err != nil {
		t.Fatal(removed, err)
	}
	want("bert", today, 1)
	j = reopen(t, j)
	want("anna", today, 2)
}
