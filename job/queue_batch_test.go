package job

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// waitingJobs submits jobs written as "id owner priority batch".
func waitingJobs(t *testing.T, q *Queue, list ...string) {
	t.Helper()
	for _, line := range list {
		var j Job
		if _, err := fmt.Sscan(line, &j.ID, &j.Owner, &j.Priority, &j.Batch); err != nil {
			t.Fatal(line, err)
		}
		j.Batch = strings.Trim(j.Batch, "-")
		submit(t, q, j)
	}
}

func idsOf(list []*Lease) string {
	var ids []string
	for _, l := range list {
		ids = append(ids, l.Job().ID)
	}
	return strings.Join(ids, " ")
}

// Which jobs are computed together with the one whose turn it is.
func TestTakeWith(t *testing.T) {
	for name, c := range map[string]struct {
		jobs          []string
		limit, takers int
		with          string // the first one
		next          string // whose turn it is after that
	}{
		"all that fit":                      {[]string{"1 a 0 x", "2 a 0 x", "3 a 0 y", "4 a 0 x"}, 9, 1, "2 4", "3"},
		"as many as may":                    {[]string{"1 a 0 x", "2 a 0 x", "3 a 0 x", "4 a 0 x"}, 2, 1, "2 3", "4"},
		"none without a key":                {[]string{"1 a 0 -", "2 a 0 -"}, 9, 1, "", "2"},
		"owners in turn":                    {[]string{"1 a 0 x", "2 a 0 x", "3 a 0 x", "4 b 0 x", "5 c 0 x"}, 2, 1, "4 5", "2"},
		"the other's turn stays":            {[]string{"1 a 0 x", "2 b 0 y", "3 a 0 x"}, 9, 1, "3", "2"},
		"the first by priority":             {[]string{"1 a 9 x", "2 a 0 x", "3 a 5 x"}, 1, 1, "3", "2"},
		"not before a higher one":           {[]string{"1 a 9 x", "2 a 0 x", "3 b 1 y", "4 a 1 x"}, 9, 1, "4", "3"},
		"a fraction of them":                {[]string{"1 a 0 x", "2 a 0 x", "3 a 0 x", "4 a 0 x", "5 a 0 x"}, 9, 2, "2 3", "4"},
		"few for many devices":              {[]string{"1 a 0 x", "2 a 0 x"}, 9, 8, "", "2"},
		"before one that it can't compute":  {[]string{"1 a 0 x", "2 a 0 x", "3 b 50 other"}, 9, 1, "2", ""},
		"none left":                         {[]string{"1 a 0 x"}, 9, 1, "", ""},
		"one at a time where nothing is on": {[]string{"1 a 0 x", "2 a 0 x"}, 0, 1, "", "2"},
	} {
		t.Run(name, func(t *testing.T) {
			q := newQueue(t, QueueOptions{Capacity: 20})
			waitingJobs(t, q, c.jobs...)
			by := Taker{Name: "device", Can: func(j *Job) bool { return j.Batch != "other" }}
			first := take(t, q, by)
			if first.Job().ID != "1" {
				t.Fatalf("%s is taken first", first.Job().ID)
			}
			more := q.TakeWith(first, by, c.limit, c.takers)
			if got := idsOf(more); got != c.with {
				t.Errorf("with it %q, want %q", got, c.with)
			}
			for _, l := range more {
				j, live, err := q.Job(l.Job().ID)
				if err != nil || j.State != Running || j.Attempts != 1 || live.Position != 0 {
					t.Errorf("%+v at %d, %v", j, live.Position, err)
				}
			}
			if s := q.Stats(); s.Computing != 1+len(more) || s.Waiting != len(c.jobs)-s.Computing {
				t.Errorf("%+v", s)
			}
			if c.next == "" {
				return
			}
			if next := take(t, q, by).Job().ID; next != c.next {
				t.Errorf("%s is next, want %s", next, c.next)
			}
		})
	}
}

// Takers that share the work have the same number of jobs, if it comes out even.
func TestTakeWithShares(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 20})
	for i := range 9 {
		waitingJobs(t, q, fmt.Sprint(i, " a 0 x"))
	}
	for range 3 {
		if n := 1 + len(q.TakeWith(take(t, q, Taker{}), Taker{}, 9, 3)); n != 3 {
			t.Errorf("%d of nine jobs for one of three takers, want 3", n)
		}
	}
}

// A job that was interrupted is computed alone, so that one which brings its device down takes no others with it. That
// goes for those of a former process too.
func TestTakeWithAfterAttempts(t *testing.T) {
	journal := openJournal(t, JournalOptions{})
	q, err := NewQueue(journal, QueueOptions{Capacity: 20})
	if err != nil {
		t.Fatal(err)
	}
	waitingJobs(t, q, "1 a 0 x", "2 b 0 x", "3 c 0 x", "4 d 0 x")
	first := take(t, q, Taker{})
	more := q.TakeWith(first, Taker{}, 2, 1)
	first.Retry(&Error{Kind: "device_failed"})
	for _, l := range more {
		l.Retry(&Error{Kind: "device_failed"})
	}
	var alone []string
	for range 4 {
		l := take(t, q, Taker{})
		if more := q.TakeWith(l, Taker{}, 9, 1); len(more) > 0 {
			t.Errorf("%s is computed with %s", l.Job().ID, idsOf(more))
		}
		alone = append(alone, l.Job().ID)
	}
	slices.Sort(alone)
	if got := strings.Join(alone, " "); got != "1 2 3 4" {
		t.Errorf("computed: %s", got)
	}
	q.Close()

	q, err = NewQueue(reopen(t, journal), QueueOptions{Capacity: 20})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for range 4 {
		l := take(t, q, Taker{})
		if more := q.TakeWith(l, Taker{}, 9, 1); l.Job().Batch != "x" || len(more) > 0 {
			t.Errorf("after a restart %s is computed with %q", l.Job().ID, idsOf(more))
		}
	}
}

// A job is passed over by batches, and by jobs for which the device is warm, three times in all.
func TestTakeWithPasses(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 20})
	by := Taker{Prefers: func(j *Job) bool { return j.Batch == "warm" }}
	for i := range 6 {
		waitingJobs(t, q, fmt.Sprintf("w%d a 0 warm", i))
	}
	first := take(t, q, by)
	waitingJobs(t, q, "cold b 0 -", "w6 c 0 warm", "w7 c 0 warm")
	q.TakeWith(first, by, 3, 1) // w1, w2, w3 or w6: cold's turn is before one of them
	for i := range 3 {
		if l := take(t, q, by); l.Job().ID == "cold" {
			if i != maxPassed-1 {
				t.Errorf("passed over %d times after the batch, want %d", i, maxPassed-1)
			}
			return
		}
	}
	t.Errorf("it is passed over more often than %d times", maxPassed)
}

// A lease that has ended, and a queue that is closed, give nothing.
func TestTakeWithEnds(t *testing.T) {
	q := newQueue(t, QueueOptions{Capacity: 20})
	waitingJobs(t, q, "1 a 0 x", "2 a 0 x", "3 a 0 x")
	first := take(t, q, Taker{})
	if _, err := q.Cancel("1", ""); err != nil {
		t.Fatal(err)
	}
	if more := q.TakeWith(first, Taker{}, 9, 1); len(more) > 0 {
		t.Errorf("a cancelled job brings %s", idsOf(more))
	}
	second := take(t, q, Taker{})
	q.Drain()
	if more := q.TakeWith(second, Taker{}, 9, 1); len(more) > 0 {
		t.Errorf("a queue that drains gives %s", idsOf(more))
	}
	q.Close()
	if more := q.TakeWith(second, Taker{}, 9, 1); len(more) > 0 {
		t.Errorf("a closed queue gives %s", idsOf(more))
	}
}
