package job

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// JournalOptions are how a journal is opened. Their zero value is usable.
type JournalOptions struct {
	Now func() time.Time // time.Now if nil
	Log *slog.Logger     // of damage that was found and repaired; discarded if nil
}

// Journal is the record of jobs on one disk. What its methods have written when they return is on the disk, even after
// a power cut. Its methods may be called at the same time; writes that wait for each other share one sync.
type Journal struct {
	path string
	file os.FileInfo // of path when it was opened
	now  func() time.Time
	log  *slog.Logger
	db   *bolt.DB

	mu      sync.Mutex // guards pending
	pending []*write   // not begun

	committing sync.Mutex // held by who commits; guards broken
	broken     error      // nothing is written after a write has panicked
}

// write is what one caller changes. It refuses before it has put anything: then the others that share its transaction
// are not concerned.
type write struct {
	change func(*txn) error
	done   bool
	err    error
}

// txn is a transaction that writes.
type txn struct {
	*bolt.Tx
	now   time.Time
	wrote bool
}

func (t *txn) put(bucket, key, value []byte) error {
	t.wrote = true
	return t.Bucket(bucket).Put(key, value)
}

func (t *txn) delete(bucket, key []byte) error {
	t.wrote = true
	return t.Bucket(bucket).Delete(key)
}

// guarded runs what reads the mapped file. bbolt panics where a page is not what it should be, and the system where the
// file can't be read: both become errors.
func (j *Journal) guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = &DamagedError{Path: j.path, Err: fmt.Errorf("%v", p)}
		}
	}()
	err = do()
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return fmt.Errorf("job: the journal %s is closed", j.path)
	}
	return err
}

func (j *Journal) view(read func(*bolt.Tx) error) error {
	return j.guarded(func() error { return j.db.View(read) })
}

// update runs change in a transaction and returns when that is on the disk. Changes that come while another one is
// synced are committed together, by one of their callers.
func (j *Journal) update(change func(*txn) error) error {
	w := &write{change: change}
	j.mu.Lock()
	j.pending = append(j.pending, w)
	j.mu.Unlock()

	j.committing.Lock()
	if !w.done {
		j.mu.Lock()
		writes := j.pending
		j.pending = nil
		j.mu.Unlock()
		j.commit(writes)
	}
	j.committing.Unlock()
	return w.err
}

// commit writes what several callers change.
func (j *Journal) commit(writes []*write) {
	err := j.broken
	if err == nil {
		settled := false
		err = j.guarded(func() error {
			err := j.db.Update(func(tx *bolt.Tx) error {
				t := &txn{Tx: tx, now: j.now()}
				for _, w := range writes {
					wrote := t.wrote
					t.wrote = false
					if w.err = w.change(t); w.err != nil && t.wrote {
						return w.err // half of a change must not be kept
					}
					t.wrote = t.wrote || wrote
				}
				if !t.wrote {
					return errNothingWritten // and nothing to sync
				}
				return nil
			})
			settled = true
			return err
		})
		if !settled {
			j.broken = err
		}
	}
	for _, w := range writes {
		w.done = true
		if w.err == nil && err != nil && !errors.Is(err, errNothingWritten) {
			w.err = fmt.Errorf("job: writing the journal %s: %w", j.path, err)
		}
	}
}

// errNothingWritten rolls a transaction back in which all were refused.
var errNothingWritten = errors.New("nothing was written")

// Close lets the file go, when what is being written is on the disk. After a write that panicked the file stays locked
// until the process ends, since bbolt may hold locks of its own.
func (j *Journal) Close() error {
	j.committing.Lock()
	defer j.committing.Unlock()
	if j.broken != nil {
		return j.broken
	}
	return j.guarded(j.db.Close)
}
