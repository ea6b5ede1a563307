package job

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	schemaVersion = 1
	journalMode   = 0o600           // prompts are nobody else's
	lockTimeout   = 2 * time.Second // for a process that is about to end
)

var schemaKey = []byte("schema")

// OpenJournal opens the journal in the file of path, which is made if it is missing; its folder must be there. A journal
// that another process has is an error that says so. Of a damaged file it is a DamagedError, where that can't be read
// without doubt; a damaged record of a job that has not ended becomes that of a Failed job, and one of an ended job
// stays, for Get and List to report.
func OpenJournal(path string, o JournalOptions) (*Journal, error) {
	j := &Journal{path: path, now: o.Now, log: o.Log}
	if j.now == nil {
		j.now = time.Now
	}
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("job: the journal %s is %s; allowed: a regular file", path, info.Mode().Type())
	case err == nil && info.Size() > 0:
		err = j.verify()
	case errors.Is(err, os.ErrNotExist):
		err = nil
	}
	if err == nil {
		err = j.guarded(func() (err error) {
			j.db, err = bolt.Open(path, journalMode, &bolt.Options{Timeout: lockTimeout, FreelistType: bolt.FreelistMapType})
			return err
		})
	}
	if err != nil {
		return nil, j.opening(err)
	}
	if err := errors.Join(syncFolder(path), j.prepare()); err != nil {
		return nil, errors.Join(j.opening(err), j.Close())
	}
	return j, nil
}

// opening says what an error in opening the file means.
func (j *Journal) opening(err error) error {
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("job: the journal %s is in use by another process", j.path)
	}
	return fmt.Errorf("job: opening the journal %s: %w", j.path, err)
}

// verify reads the pages of a file that nobody writes to meanwhile, before bbolt relies on them.
func (j *Journal) verify() error {
	return j.guarded(func() error {
		db, err := bolt.Open(j.path, journalMode, &bolt.Options{ReadOnly: true, Timeout: lockTimeout})
		var system syscall.Errno
		switch {
		case errors.Is(err, berrors.ErrTimeout), errors.As(err, &system):
			return err
		case err != nil: // the first pages can't be read, or are not there
			return &DamagedError{Path: j.path, Err: err}
		}
		stale, err := verifyPages(j.path)
		if err != nil {
			err = &DamagedError{Path: j.path, Err: err}
		}
		if stale != nil {
			j.log.Warn("journal: one of two first pages is damaged; what was written last may be lost", slog.String("path", j.path), slog.String("error", stale.Error()))
		}
		return errors.Join(err, db.Close())
	})
}

// syncFolder makes sure that a new file is found after a power cut.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// prepare makes the buckets of a new journal, and repairs the list of open jobs.
func (j *Journal) prepare() error {
	var repair bool
	err := j.update(func(t *txn) error {
		if t.Bucket(metaBucket) == nil {
			return t.createBuckets()
		}
		version := string(t.Bucket(metaBucket).Get(schemaKey))
		if version != strconv.Itoa(schemaVersion) {
			return fmt.Errorf("its schema is %q; allowed: %d, which this program writes", version, schemaVersion)
		}
		for _, name := range buckets {
			if t.Bucket(name) == nil {
				return &DamagedError{Path: j.path, Err: fmt.Errorf("it has no bucket %s", name)}
			}
		}
		repair = !j.openIsSound(t.Tx)
		return nil
	})
	if err != nil || !repair {
		return err
	}
	return j.update(j.repairOpen)
}

func (t *txn) createBuckets() error {
	t.wrote = true
	for _, name := range buckets {
		if _, err := t.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return t.put(metaBucket, schemaKey, []byte(strconv.Itoa(schemaVersion)))
}

// openIsSound reports whether the open jobs are as many as were counted, and each is whole.
func (j *Journal) openIsSound(tx *bolt.Tx) bool {
	order := tx.Bucket(orderBucket)
	if last, _ := order.Cursor().Last(); last != nil && order.Sequence() < numberOf(last) {
		return false
	}
	n, sound := uint64(0), true
	err := tx.Bucket(openBucket).ForEach(func(seq, id []byte) error {
		n++
		job, err := j.load(tx, string(id))
		sound = sound && err == nil && !job.State.Ended() && job.Seq == numberOf(seq)
		return nil
	})
	return err == nil && sound && n == tx.Bucket(openBucket).Sequence()
}

// repairOpen makes the list of open jobs anew, of the order and their records. A job that was open and has no sound
// record is Failed.
func (j *Journal) repairOpen(t *txn) error {
	was := map[uint64]string{}
	err := t.Bucket(openBucket).ForEach(func(seq, id []byte) error {
		was[numberOf(seq)] = string(id)
		return nil
	})
	if err != nil {
		return err
	}
	t.wrote = true
	if err := errors.Join(t.DeleteBucket(openBucket), ignore(t.CreateBucket(openBucket))); err != nil {
		return err
	}
	order, last := t.Bucket(orderBucket), uint64(0)
	lost := map[uint64]*DamagedError{}
	err = order.ForEach(func(seq, value []byte) error {
		last = numberOf(seq)
		_, id, _ := splitOrder(value)
		job, err := j.load(t.Tx, id)
		_, wasOpen := was[last]
		switch {
		case err == nil && job.Seq == last && !job.State.Ended():
			err = errors.Join(t.put(openBucket, seq, []byte(id)), t.countOpen(1))
		case err == nil && job.Seq == last || !wasOpen:
			err = nil // it has ended, or is reported where it is read
		default:
			lost[last] = &DamagedError{Path: j.path, ID: id, Err: errors.Join(err)}
			err = nil
		}
		delete(was, last)
		return err
	})
	if err != nil {
		return err
	}
	for seq, id := range was { // not in the order
		lost[seq] = &DamagedError{Path: j.path, ID: id, Err: errors.New("the order does not have it")}
	}
	if order.Sequence() < last {
		if err := order.SetSequence(last); err != nil {
			return err
		}
	}
	j.log.Error("journal: the list of open jobs was damaged and is made anew", slog.String("path", j.path), slog.Int("lost", len(lost)))
	for seq, damage := range lost {
		if err := j.failLost(t, seq, damage); err != nil {
			return err
		}
	}
	return nil
}

// ignore is the error alone of what has a result too.
func ignore[T any](_ T, err error) error { return err }

func (j *Journal) failLost(t *txn, seq uint64, damage *DamagedError) error {
	j.log.Error("journal: the record of an open job is damaged: it has failed", slog.String("job", damage.ID), slog.String("error", damage.Err.Error()))
	if damage.ID == "" {
		return nil // nobody can ask for it
	}
	job := Job{ID: damage.ID, Seq: seq, State: Failed, Ended: t.now, Error: &Error{
		Kind: KindDamagedRecord, Message: "The journal's record of this job is damaged: " + damage.Err.Error(),
	}}
	known, err := t.eraseDamaged(job.ID)
	if err != nil {
		return err
	}
	job.Owner = known.Owner
	return t.store(nil, &job)
}
