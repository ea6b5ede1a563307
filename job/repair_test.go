package job

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// An older record of a job, whose own checksum holds, is found to be one.
func TestStaleRecord(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	if _, _, err := j.Accept(Job{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	var old []byte
	if err := j.view(func(tx *bolt.Tx) error {
		old = bytes.Clone(tx.Bucket(jobsBucket).Get([]byte("a")))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Update("a", func(job *Job) error { job.State = Done; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := j.update(func(t *txn) error { return t.put(jobsBucket, []byte("a"), old) }); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if job, err := j.Get("a"); !errors.As(err, &damaged) || damaged.ID != "a" || !strings.Contains(err.Error(), "an older one") {
		t.Errorf("%+v, %v", job, err)
	}
	page, err := j.List(Filter{})
	if err != nil || len(page.Jobs) != 0 || !slices.Equal(page.Damaged, []string{"a"}) {
		t.Errorf("%+v, %v", page, err)
	}
	removed, err := j.Expire(time.Now().Add(time.Hour), 0, 0)
	if err != nil || len(removed) != 1 || removed[0].ID != "a" || removed[0].Error == nil {
		t.Errorf("%+v, %v", removed, err)
	}
	if _, err := j.Get("a"); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
}

// Retention removes nothing because of a damaged entry, and puts the entry right.
func TestDamagedRetention(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	for _, id := range []string{"a", "b"} {
		if _, _, err := j.Accept(Job{ID: id}); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Update(id, func(job *Job) error { job.State, job.Outputs = Done, []Blob{{ID: id, Bytes: 1}}; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.update(func(t *txn) error { // 2⁶² bytes
		c := t.Bucket(endedBucket).Cursor()
		k, v := c.First()
		v = bytes.Clone(v)
		v[4] ^= 1 << 6
		return t.put(endedBucket, bytes.Clone(k), v)
	}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if removed, err := j.Expire(time.Time{}, 1000, 0); err != nil || len(removed) != 0 {
			t.Errorf("%+v, %v", removed, err)
		}
	}
	if removed, err := j.Expire(time.Now().Add(time.Hour), 0, 0); err != nil || !slices.Equal(ids(removed), []string{"a", "b"}) {
		t.Errorf("%+v, %v", removed, err)
	}
}

// The record of another job, whose checksum holds, is not taken for a job's own.
func TestStrangeRecord(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	for _, id := range []string{"a", "b"} {
		if _, _, err := j.Accept(Job{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.update(func(t *txn) error {
		return t.put(jobsBucket, []byte("a"), bytes.Clone(t.Bucket(jobsBucket).Get([]byte("b"))))
	}); err != nil {
		t.Fatal(err)
	}
	if job, err := j.Get("a"); err == nil || !strings.Contains(err.Error(), "it is of job b") {
		t.Errorf("%+v, %v", job, err)
	}
	// The next process fails it, and leaves the other one alone.
	reopen(t, j)
	if job, err := j.Get("a"); err != nil || job.State != Failed || job.Error.Kind != KindDamagedRecord || job.Seq != 1 {
		t.Errorf("%+v, %v", job, err)
	}
	if open, err := j.Open(); err != nil || !slices.Equal(ids(open), []string{"b"}) {
		t.Errorf("%+v, %v", open, err)
	}
}

// A job that the list of open ones has lost is taken up all the same, and one that another's entry leads to is not
// lost.
func TestOpenIsMadeAnew(t *testing.T) {
	for name, harm := range map[string]func(t *txn) error{
		"an entry is gone":            func(t *txn) error { return t.delete(openBucket, number(2)) },
		"an entry leads to another":   func(t *txn) error { return t.put(openBucket, number(2), []byte("c")) },
		"an entry leads nowhere":      func(t *txn) error { return t.put(openBucket, number(2), []byte("x")) },
		"an entry is of one that has": func(t *txn) error { return t.put(openBucket, number(4), []byte("done")) },
		"the order leads to another": func(t *txn) error {
			return t.put(orderBucket, number(9), append(bytes.Clone(t.Bucket(orderBucket).Get(number(2))[:4]), "b"...))
		},
		"the last number is lost": func(t *txn) error { t.wrote = true; return t.Bucket(orderBucket).SetSequence(1) },
	} {
		t.Run(name, func(t *testing.T) {
			j := openJournal(t, JournalOptions{})
			for _, id := range []string{"a", "b", "c", "done"} {
				if _, _, err := j.Accept(Job{ID: id}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := j.Update("done", func(job *Job) error { job.State = Done; return nil }); err != nil {
				t.Fatal(err)
			}
			if err := j.update(harm); err != nil {
				t.Fatal(err)
			}
			reopen(t, j)
			if open, err := j.Open(); err != nil || !slices.Equal(ids(open), []string{"a", "b", "c"}) {
				t.Errorf("open: %v, %v", ids(open), err)
			}
			if job, err := j.Get("done"); err != nil || job.State != Done {
				t.Errorf("%+v, %v", job, err)
			}
			if job, _, err := j.Accept(Job{ID: "new"}); err != nil || job.Seq < 5 {
				t.Errorf("%+v, %v", job, err)
			}
		})
	}
}

// Damage of what holds the pages together is found before they are used, each by its own words.
func TestVerifyPages(t *testing.T) {
	file, _, _ := written(t)
	m, _, err := readMeta(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	page := func(f []byte, id uint64) []byte { return f[id*uint64(m.pageSize):] }
	leaf := m.root // of the buckets
	for want, harm := range map[string]func(f []byte){
		"is lost: it is part of no tree":    func(f []byte) { f[m.freelist*uint64(m.pageSize)+10]-- },
		"is free, and used":                 func(f []byte) { native.PutUint64(page(f, m.freelist)[pageHeader:], m.root) },
		"pages are free, in a list of":      func(f []byte) { native.PutUint16(page(f, m.freelist)[10:], 60000) },
		"the list of free pages must be":    func(f []byte) { page(f, m.freelist)[8] = leafFlag },
		"says that it is page":              func(f []byte) { page(f, leaf)[1]++ },
		"has the flags 0x3":                 func(f []byte) { page(f, leaf)[8] = 3 },
		"is not in its place":               func(f []byte) { page(f, leaf)[pageHeader+4]++ },
		"has 65535 elements":                func(f []byte) { native.PutUint16(page(f, leaf)[10:], 65535) },
		"is not in order":                   func(f []byte) { i := bytes.Index(page(f, leaf), blobsBucket); page(f, leaf)[i] = 'z' },
		"neither of its first pages can be": func(f []byte) { clear(f[:2*m.pageSize]) },
	} {
		harmed := bytes.Clone(file)
		harm(harmed)
		path := filepath.Join(t.TempDir(), "jobs.db")
		if err := os.WriteFile(path, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := verifyPages(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
}

// One of the two first pages is enough, and it is said that one is damaged.
func TestFirstPages(t *testing.T) {
	file, _, _ := written(t)
	for i := range 2 {
		harmed := bytes.Clone(file)
		harmed[i*os.Getpagesize()+pageHeader+50] ^= 1
		path := filepath.Join(t.TempDir(), "jobs.db")
		if err := os.WriteFile(path, harmed, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		j, err := OpenJournal(path, JournalOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
		if err == nil {
			err = j.Close()
		}
		if err != nil || !strings.Contains(log.String(), "what was written last may be lost") {
			t.Errorf("page %d: %v, log %q", i, err, log.String())
		}
	}
}

// A file that shrinks, or a disk that fails, while the journal is open is an error of those who read it.
func TestFileShrinks(t *testing.T) {
	file, jobs, _ := written(t)
	path := filepath.Join(t.TempDir(), "jobs.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(path, JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	for id := range jobs {
		if job, err := j.Get(id); !errors.As(err, &damaged) {
			t.Errorf("%s: %+v, %v", id, job, err)
		}
	}
	if _, err := j.List(Filter{}); !errors.As(err, &damaged) {
		t.Errorf("listing: %v", err)
	}
	if _, _, err := j.Accept(Job{ID: "new"}); !errors.As(err, &damaged) {
		t.Errorf("accepting: %v", err)
	}
	if err := j.Close(); !errors.As(err, &damaged) {
		t.Errorf("closing: %v", err)
	}
}
