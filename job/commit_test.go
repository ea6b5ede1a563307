package job

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A panic of a change comes out where Update was called, and harms nobody else.
func TestChangePanics(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	if _, _, err := j.Accept(Job{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if p := recover(); p != "mine" {
				t.Errorf("recovered %v", p)
			}
		}()
		_, err := j.Update("a", func(*Job) error { panic("mine") })
		t.Errorf("returned: %v", err)
	}()
	if _, err := j.Update("a", func(job *Job) error { job.State = Running; return nil }); err != nil {
		t.Error(err)
	}
}

// Jobs that are accepted at the same time share a transaction, each has its own Seq, and those that are refused are so
// alone.
func TestAcceptAtOnce(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	transactions := func() (id int) {
		if err := j.view(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
			t.Error(err)
		}
		return id
	}
	before := transactions()
	const clients = 32
	j.committing.Lock() // as while another transaction is synced
	var group sync.WaitGroup
	var refused atomic.Int64
	for c := range clients {
		group.Go(func() {
			if _, _, err := j.Accept(Job{ID: fmt.Sprint(c / 2)}); err != nil {
				refused.Add(1)
			}
		})
	}
	for waiting := 0; waiting < clients; runtime.Gosched() {
		j.mu.Lock()
		waiting = len(j.pending)
		j.mu.Unlock()
	}
	j.committing.Unlock()
	group.Wait()
	if n := transactions() - before; n != 1 || refused.Load() != clients/2 {
		t.Errorf("%d transactions, %d refused: want 1 and %d", n, refused.Load(), clients/2)
	}
	open, err := reopen(t, j).Open()
	if err != nil || len(open) != clients/2 {
		t.Fatalf("%d jobs, %v", len(open), err)
	}
	for i, job := range open {
		if job.Seq != uint64(i+1) {
			t.Errorf("job %d has Seq %d", i, job.Seq)
		}
	}
}

// A write that fails is the error of all that share it, and none of them is kept.
func TestSharedFailure(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	broken := errors.New("broken")
	writes := []*write{
		{change: func(t *txn) error { return t.put(metaBucket, []byte("x"), nil) }},
		{change: func(t *txn) error { return ErrUnknown }},
		{change: func(t *txn) error { return errors.Join(t.put(metaBucket, []byte("y"), nil), broken) }},
	}
	j.commit(writes)
	if !errors.Is(writes[0].err, broken) || writes[1].err != ErrUnknown || !errors.Is(writes[2].err, broken) {
		t.Errorf("%v, %v, %v", writes[0].err, writes[1].err, writes[2].err)
	}
	writes = []*write{{change: func(t *txn) error { return ErrUnknown }}, {change: func(t *txn) error { return t.put(metaBucket, []byte("z"), nil) }}}
	j.commit(writes)
	if writes[0].err != ErrUnknown || writes[1].err != nil {
		t.Errorf("%v, %v", writes[0].err, writes[1].err)
	}
	if err := j.view(func(tx *bolt.Tx) error {
		for key, there := range map[string]bool{"x": false, "y": false, "z": true} {
			if got := tx.Bucket(metaBucket).Get([]byte(key)) != nil; got != there {
				t.Errorf("%s is there: %v", key, got)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

// A journal that panicked in writing writes nothing more; it is still read.
func TestNothingAfterPanic(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	if _, _, err := j.Accept(Job{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	var damaged *DamagedError
	if err := j.update(func(*txn) error { panic("page 7 already freed") }); !errors.As(err, &damaged) || !strings.Contains(err.Error(), "page 7") {
		t.Errorf("%v", err)
	}
	if _, _, err := j.Accept(Job{ID: "b"}); !errors.As(err, &damaged) {
		t.Errorf("%v", err)
	}
	if job, err := j.Get("a"); err != nil || job.ID != "a" {
		t.Errorf("%+v, %v", job, err)
	}
	j.broken = nil // for the cleanup
}
