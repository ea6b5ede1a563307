package job

import (
	"errors"
	"fmt"
	"time"
)

// tombstoneAge is for how long an expired job is distinguished from one that never was.
const tombstoneAge = 30 * 24 * time.Hour

// Remove deletes jobs that have ended: they are unknown from then on. The error of one of them, ErrNotEnded among those
// of Get, is that of all, and none is removed. A job whose record is damaged is removed too.
func (j *Journal) Remove(ids ...string) error {
	return j.update(func(t *txn) error {
		jobs := make(map[string]*Job, len(ids))
		for _, id := range ids {
			job, err := j.get(t.Tx, id)
			var damaged *DamagedError
			switch {
			case errors.As(err, &damaged):
				jobs[id] = nil
				continue
			case err == nil && !job.State.Ended():
				err = ErrNotEnded
			}
			if err != nil {
				return fmt.Errorf("job %s: %w", id, err)
			}
			jobs[id] = &job
		}
		for id, job := range jobs {
			if job == nil {
				if _, err := t.eraseDamaged(id); err != nil {
					return err
				}
			} else if err := t.erase(job); err != nil {
				return err
			}
		}
		return nil
	})
}

// Expire removes the jobs that ended before a time, and then the oldest ones until the outputs of the others have at
// most keepBytes bytes (0 is no limit), but at most limit jobs (0 is no limit). It returns what it removed: of a job
// whose record is damaged no more than its ID, Error and what is known of its owner and outputs. For Get they are
// expired then, for 30 days. Their blobs are the caller's to remove, those for which JobOfBlob finds no job.
func (j *Journal) Expire(before time.Time, keepBytes int64, limit int) (removed []Job, err error) {
	err = j.update(func(t *txn) error {
		removed = nil
		ids, damaged := t.oldest(before, keepBytes, limit)
		for _, key := range damaged {
			if err := j.reindex(t, key); err != nil {
				return err
			}
		}
		for _, id := range ids {
			job, err := j.load(t.Tx, id)
			if err == nil {
				err = t.erase(&job)
			} else {
				why := &Error{Kind: KindDamagedRecord, Message: err.Error()}
				job, err = t.eraseDamaged(id)
				job.State, job.Error = Failed, why
			}
			now := number(uint64(t.now.UnixNano()))
			err = errors.Join(err, t.put(expiredBucket, []byte(id), now), t.put(tombsBucket, append(now, id...), nil))
			if err != nil {
				return err
			}
			removed = append(removed, job)
		}
		return t.prune()
	})
	if err != nil {
		return nil, err
	}
	return removed, nil
}

// oldest lists the jobs that Expire removes, and the keys of entries that are not as they were written.
func (t *txn) oldest(before time.Time, keepBytes int64, limit int) (ids []string, damaged [][]byte) {
	c := t.Bucket(endedBucket).Cursor()
	excess := -keepBytes
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if _, bytes, _, ok := splitEnded(k, v); ok {
			excess += bytes
		} else {
			damaged = append(damaged, append([]byte(nil), k...))
		}
	}
	if keepBytes == 0 {
		excess = 0
	}
	for k, v := c.First(); k != nil && (limit == 0 || len(ids) < limit); k, v = c.Next() {
		ended, bytes, id, ok := splitEnded(k, v)
		if !ok {
			continue
		}
		if ended >= before.UnixNano() && excess <= 0 {
			break
		}
		excess -= bytes
		ids = append(ids, id)
	}
	return ids, damaged
}

// prune forgets the jobs that expired long ago.
func (t *txn) prune() error {
	var old [][]byte
	c := t.Bucket(tombsBucket).Cursor()
	for k, _ := c.First(); k != nil && int64(numberOf(k)) < t.now.Add(-tombstoneAge).UnixNano(); k, _ = c.Next() {
		old = append(old, append([]byte(nil), k...))
	}
	for _, k := range old {
		if err := errors.Join(t.delete(expiredBucket, k[8:]), t.delete(tombsBucket, k)); err != nil {
			return err
		}
	}
	return nil
}
