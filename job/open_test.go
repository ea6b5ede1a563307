package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// What can't be opened is an error that says why, and stays as it is.
func TestOpenErrors(t *testing.T) {
	folder := t.TempDir()
	held := openJournal(t, JournalOptions{})
	newer := filepath.Join(folder, "newer.db")
	j, err := OpenJournal(newer, JournalOptions{})
	if err == nil {
		err = errors.Join(j.update(func(t *txn) error { return t.put(metaBucket, schemaKey, schemaValue("2")) }), j.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(folder, "text.db")
	if err := os.WriteFile(text, []byte(strings.Repeat("no journal\n", 10000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, want string
		damaged    bool
	}{
		{held.path, "in use by another process", false},
		{newer, `its schema is 2; allowed: 1`, false},
		{text, "move it away", true},
		{folder, "allowed: a regular file", false},
		{filepath.Join(folder, "none", "jobs.db"), "no such file or directory", false},
	} {
		before, _ := os.ReadFile(c.path) // of a folder nothing
		_, err := OpenJournal(c.path, JournalOptions{})
		var damaged *DamagedError
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.path) || errors.As(err, &damaged) != c.damaged {
			t.Errorf("%s: %v: want %q", c.path, err, c.want)
		}
		if after, _ := os.ReadFile(c.path); string(after) != string(before) {
			t.Errorf("%s was changed", c.path)
		}
	}
}

// A journal that is closed says so.
func TestClosed(t *testing.T) {
	j, err := OpenJournal(filepath.Join(t.TempDir(), "jobs.db"), JournalOptions{})
	if err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := j.Accept(Job{ID: "a"}); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("%v", err)
	}
	if _, err := j.Get("a"); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("%v", err)
	}
}

// What is in a journal is nobody else's to read, and an empty file is a new journal.
func TestNewJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	j, err := OpenJournal(path, JournalOptions{})
	if err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	if j, err = OpenJournal(path, JournalOptions{}); err == nil {
		err = j.Close()
	}
	if err != nil {
		t.Error(err)
	}
}

// filled makes a journal of so many jobs that are done, a transaction for a thousand, and one that is queued.
func filled(b *testing.B, n int) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "jobs.db")
	j, err := OpenJournal(path, JournalOptions{})
	if err != nil {
		b.Fatal(err)
	}
	request := []byte(`{"prompt":"` + strings.Repeat("a castle on a hill ", 20) + `","width":1024,"height":1024,"steps":30}`)
	for first := 0; first < n; first += 1000 {
		err := j.update(func(t *txn) error {
			for i := first; i < min(first+1000, n); i++ {
				id := fmt.Sprintf("%08x-0000-4000-8000-%012x", uint32(i)*2654435761, i)
				job := Job{
					ID: id, Owner: "ann", API: "/v1/jobs", Model: "sdxl", Task: "text-to-image", Request: request, Parameters: request, State: Done,
					Attempts: 1, Created: t.now, Started: t.now, Ended: t.now, Outputs: []Blob{{Role: "image", ID: "f" + id[1:], Type: "image/png", Width: 1024, Height: 1024, Bytes: 1 << 20}},
				}
				var err error
				if job.Seq, err = t.Bucket(orderBucket).NextSequence(); err != nil {
					return err
				}
				if err := t.store(nil, &job); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	if _, _, err := j.Accept(Job{ID: "queued"}); err != nil {
		b.Fatal(err)
	}
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
	return path
}

// BenchmarkOpen100k is the start of a server with 100,000 jobs that have ended and one that waits.
func BenchmarkOpen100k(b *testing.B) {
	path := filled(b, 100_000)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		j, err := OpenJournal(path, JournalOptions{})
		if err != nil {
			b.Fatal(err)
		}
		q, err := NewQueue(j, QueueOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if s := q.Stats(); s.Waiting != 1 {
			b.Fatalf("%+v", s)
		}
		q.Close()
		if err := j.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(info.Size())/1e6, "MB")
}

// BenchmarkAccept is one client's jobs, each synced.
func BenchmarkAccept(b *testing.B) {
	j := openJournal(b, JournalOptions{})
	for i := 0; b.Loop(); i++ {
		if _, _, err := j.Accept(Job{ID: fmt.Sprint(i)}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAcceptAtOnce is the jobs of 64 clients at once, which share what is synced.
func BenchmarkAcceptAtOnce(b *testing.B) {
	j := openJournal(b, JournalOptions{})
	var n atomic.Int64
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := j.Accept(Job{ID: fmt.Sprint(n.Add(1))}); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkList is a page from the middle of 100,000 jobs.
func BenchmarkList(b *testing.B) {
	j, err := OpenJournal(filled(b, 100_000), JournalOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	for b.Loop() {
		if page, err := j.List(Filter{Before: 50_000}); err != nil || len(page.Jobs) != 50 {
			b.Fatal(len(page.Jobs), err)
		}
	}
}

// The count of open jobs is right however jobs come and go.
func TestOpenCount(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	want := func(n uint64) {
		t.Helper()
		if err := j.view(func(tx *bolt.Tx) error {
			if got := tx.Bucket(openBucket).Sequence(); got != n || !j.openIsSound(tx) {
				t.Errorf("%d open jobs are counted, want %d", got, n)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, _, err := j.Accept(Job{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	want(3)
	for _, state := range []State{Running, Interrupted, Running, Done} {
		if _, err := j.Update("b", func(job *Job) error { job.State = state; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	want(2)
	if err := j.Remove("b"); err != nil {
		t.Fatal(err)
	}
	want(2)
}
