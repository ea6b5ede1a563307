package job

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	schemaVersion = "1"
	journalMode   = 0o600           // prompts are nobody else's
	lockTimeout   = 2 * time.Second // for a process that is about to end
)

var schemaKey = []byte("schema")

// OpenJournal opens the journal in the file of path, which is made if it is missing; its folder must be there. A
// journal that another process has is an error that says so. Of a damaged file it is a DamagedError, where that can't
// be read without doubt; a damaged record of a job that has not ended becomes that of a Failed job, and one of an ended
// job stays, for Get and List to report.
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
	err = errors.Join(syncFolder(path), j.prepare())
	if err == nil {
		j.file, err = os.Stat(path)
	}
	if err != nil {
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
		version, err := schemaOf(t.Bucket(metaBucket).Get(schemaKey))
		switch {
		case err != nil:
			return &DamagedError{Path: j.path, Err: err}
		case version != schemaVersion:
			return fmt.Errorf("its schema is %s; allowed: %s, which this program writes", version, schemaVersion)
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
	return t.put(metaBucket, schemaKey, schemaValue(schemaVersion))
}

// schemaValue is the record of a version, with its checksum.
func schemaValue(version string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, crc32.Checksum([]byte(version), castagnoli)), version...)
}

func schemaOf(value []byte) (version string, err error) {
	if len(value) < 4 || !bytes.Equal(value, schemaValue(string(value[4:]))) {
		return "", fmt.Errorf("its schema is %q", value)
	}
	return string(value[4:]), nil
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
