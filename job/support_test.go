package job

import (
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// clock is a time that moves only when a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func openJournal(t testing.TB, o JournalOptions) *Journal {
	t.Helper()
	j, err := OpenJournal(filepath.Join(t.TempDir(), "jobs.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

// reopen closes a journal and opens its file again.
func reopen(t testing.TB, j *Journal) *Journal {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenJournal(j.path, JournalOptions{Now: j.now})
	if err != nil {
		t.Fatal(err)
	}
	*j = Journal{path: again.path, file: again.file, now: again.now, log: again.log, db: again.db} // for the cleanup
	return j
}

func newQueue(t testing.TB, o QueueOptions) *Queue {
	t.Helper()
	q, err := NewQueue(openJournal(t, JournalOptions{Now: o.Now}), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

func submit(t testing.TB, q *Queue, j Job) Job {
	t.Helper()
	kept, existed, err := q.Submit(j)
	if err != nil || existed {
		t.Fatalf("%s: existed %v, %v", j.ID, existed, err)
	}
	return kept
}

func take(t testing.TB, q *Queue, by Taker) *Lease {
	t.Helper()
	l, err := q.Take(t.Context(), by)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
