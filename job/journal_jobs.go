package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"
)

// longest is how many bytes an id, an owner or a key may have.
const longest = 255

// check refuses what can't be recorded.
func (j *Job) check() error {
	for _, f := range []struct {
		name, value string
		wanted      bool
	}{{"ID", j.ID, true}, {"Owner", j.Owner, false}, {"Key", j.Key, false}} {
		switch {
		case f.wanted && f.value == "":
			return fmt.Errorf("job: %s is empty", f.name)
		case len(f.value) > longest:
			return fmt.Errorf("job: %s has %d bytes; allowed: at most %d", f.name, len(f.value), longest)
		case strings.ContainsRune(f.value, 0), !utf8.ValidString(f.value):
			return fmt.Errorf("job: %s is %q; allowed: UTF-8 without 0x00", f.name, f.value)
		}
	}
	if j.Priority < MinPriority || j.Priority > MaxPriority {
		return fmt.Errorf("job: Priority is %d; allowed: %d to %d", j.Priority, MinPriority, MaxPriority)
	}
	if !j.State.valid() {
		return fmt.Errorf("job: State is %q; allowed: %s, %s, %s, %s, %s, %s", j.State, Queued, Running, Interrupted, Done, Failed, Cancelled)
	}
	texts := map[string]json.RawMessage{"Request": j.Request, "Parameters": j.Parameters}
	if j.Error != nil {
		texts["Error.Detail"] = j.Error.Detail
	}
	for name, text := range texts {
		if text != nil && !json.Valid(text) {
			return fmt.Errorf("job: %s has %d bytes that are no JSON", name, len(text))
		}
	}
	for _, list := range [][]Blob{j.Inputs, j.Outputs} {
		for i, b := range list {
			if b.ID == "" || len(b.ID) > longest || strings.ContainsRune(b.ID, 0) || b.Bytes < 0 {
				return fmt.Errorf("job: blob %d has the id %q and %d bytes; allowed: an id of 1 to %d bytes without 0x00", i, b.ID, b.Bytes, longest)
			}
		}
	}
	return nil
}

// Accept records a new job, Queued, with the next Seq and the time of now where Created is zero. Where a job of the
// same owner came with the same Key before, that one is returned, and existed is true; ErrKeyReused says that its
// KeyHash is another. An ID that is or was in the journal is an error.
func (j *Journal) Accept(job Job) (kept Job, existed bool, err error) {
	if job.State == "" {
		job.State = Queued
	}
	if err := job.check(); err != nil {
		return Job{}, false, err
	}
	if job.State != Queued {
		return Job{}, false, fmt.Errorf("job: State of a new job is %q; allowed: %s", job.State, Queued)
	}
	if err := j.Present(); err != nil {
		return Job{}, false, err
	}
	err = j.update(func(t *txn) error {
		var err error
		if kept, existed, err = j.keyed(t.Tx, &job); existed || err != nil {
			return err
		}
		if t.Bucket(jobsBucket).Get([]byte(job.ID)) != nil || t.Bucket(expiredBucket).Get([]byte(job.ID)) != nil {
			return fmt.Errorf("job: ID is %q, which is in the journal; allowed: a new one", job.ID)
		}
		kept = job
		t.wrote = true
		if kept.Seq, err = t.Bucket(orderBucket).NextSequence(); err != nil {
			return err
		}
		if kept.Created.IsZero() {
			kept.Created = t.now
		}
		return t.store(nil, &kept)
	})
	if err != nil {
		return Job{}, false, err
	}
	return kept, existed, nil
}

// keyed finds the job that came before with a job's owner and key.
func (j *Journal) keyed(tx *bolt.Tx, job *Job) (earlier Job, existed bool, err error) {
	if job.Key == "" {
		return Job{}, false, nil
	}
	id := tx.Bucket(keysBucket).Get(joined(job.Owner, []byte(job.Key)))
	if id == nil {
		return Job{}, false, nil
	}
	earlier, err = j.load(tx, string(id))
	switch {
	case err != nil:
		if errors.Is(err, ErrUnknown) {
			err = &DamagedError{Path: j.path, ID: string(id), Err: errors.New("its key is there, and it is not")}
		}
		return Job{}, false, err
	case earlier.Owner != job.Owner || earlier.Key != job.Key:
		return Job{}, false, &DamagedError{Path: j.path, ID: string(id), Err: errors.New("another key leads to it")}
	case earlier.KeyHash != job.KeyHash:
		return Job{}, false, ErrKeyReused
	}
	return earlier, true, nil
}

// Keyed finds the job that came before with an owner's key, as Accept does, and accepts none.
func (j *Journal) Keyed(owner, key, hash string) (earlier Job, existed bool, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		earlier, existed, err = j.keyed(tx, &Job{Owner: owner, Key: key, KeyHash: hash})
		return err
	})
	return earlier, existed, err
}

// Update changes the record of a job and returns it as it is then. An error of change leaves it as it was and is
// returned. ID, Seq, Owner, Key and Created can't be changed, and a job that has ended stays in its state. Ended is set
// to now where change ends the job and leaves it zero. change may be called in another goroutine than the caller's, and
// must not use the journal. Other errors are those of Get.
func (j *Journal) Update(id string, change func(*Job) error) (updated Job, err error) {
	list, err := j.updateAll([]string{id}, change)
	if err != nil {
		return Job{}, err
	}
	return list[0], nil
}

// updateAll is Update for several jobs in one transaction.
func (j *Journal) updateAll(ids []string, change func(*Job) error) (updated []Job, err error) {
	w := &protected{}
	err = j.update(func(t *txn) error {
		updated = updated[:0]
		before := make([]Job, len(ids))
		for i, id := range ids {
			if before[i], err = j.get(t.Tx, id); err != nil {
				return err
			}
			after := before[i]
			if err := w.run(func() error { return change(&after) }); err != nil {
				return err
			}
			if err := checkChange(&before[i], &after); err != nil {
				return err
			}
			if after.State.Ended() && after.Ended.IsZero() {
				after.Ended = t.now
			}
			updated = append(updated, after)
		}
		for i := range updated {
			if err := t.store(&before[i], &updated[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if w.panicked != nil {
		panic(w.panicked)
	}
	return updated, err
}

// protected runs a caller's function, whose panic is not damage of the file, and belongs to the caller's goroutine.
type protected struct{ panicked any }

func (p *protected) run(do func() error) (err error) {
	defer func() {
		if p.panicked = recover(); p.panicked != nil {
			err = errors.New("job: the change of a job panicked")
		}
	}()
	return do()
}

func checkChange(before, after *Job) error {
	if after.ID != before.ID || after.Seq != before.Seq || after.Owner != before.Owner || after.Key != before.Key || !after.Created.Equal(before.Created) {
		return fmt.Errorf("job: a change of job %s changes what names it; allowed: the same ID, Seq, Owner, Key and Created", before.ID)
	}
	if before.State.Ended() && (after.State != before.State || !after.Ended.Equal(before.Ended)) {
		return fmt.Errorf("job: State of job %s is %q, which has ended; allowed: no other one than %q", before.ID, after.State, before.State)
	}
	return after.check()
}

// Get returns a job: ErrUnknown if there is none, ErrExpired if Expire has removed it, a DamagedError if its record is
// not as it was written.
func (j *Journal) Get(id string) (job Job, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		job, err = j.get(tx, id)
		return err
	})
	return job, err
}

func (j *Journal) get(tx *bolt.Tx, id string) (Job, error) {
	if id == "" {
		return Job{}, ErrUnknown
	}
	job, err := j.load(tx, id)
	if errors.Is(err, ErrUnknown) && tx.Bucket(expiredBucket).Get([]byte(id)) != nil {
		err = ErrExpired
	}
	return job, err
}

// JobOfBlob finds the job that made a blob, else one that reads it. Once no job has it any more, nothing needs it.
func (j *Journal) JobOfBlob(id string) (jobID string, ok bool, err error) {
	prefix := joined(id, nil)
	err = j.view(func(tx *bolt.Tx) error {
		c := tx.Bucket(blobsBucket).Cursor()
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if made := bytes.Equal(v, []byte("o")); made || !ok {
				jobID, ok = string(k[len(prefix):]), true
				if made {
					return nil
				}
			}
		}
		return nil
	})
	return jobID, ok, err
}
