package job

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// numberOf is the number that a key or value begins with.
func numberOf(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// entry is a key in a bucket.
type entry struct{ bucket, key []byte }

// eraseDamaged removes a job whose record can't be read, by looking through the whole journal for what leads to it. It
// returns what it learns of the job on the way.
func (t *txn) eraseDamaged(id string) (known Job, err error) {
	known.ID = id
	mine, suffix := []byte(id), joined("", []byte(id))
	found := []entry{{jobsBucket, mine}}
	for _, b := range []struct {
		name []byte
		of   func(k, v []byte) bool
	}{
		{orderBucket, func(_, v []byte) bool { return len(v) > 4 && bytes.Equal(v[4:], mine) }},
		{openBucket, func(_, v []byte) bool { return bytes.Equal(v, mine) }},
		{endedBucket, func(_, v []byte) bool { return len(v) > 12 && bytes.Equal(v[12:], mine) }},
		{keysBucket, func(_, v []byte) bool { return bytes.Equal(v, mine) }},
		{ownersBucket, func(k, v []byte) bool {
			if !bytes.Equal(v, mine) || len(k) < 9 {
				return false
			}
			known.Owner = string(k[:len(k)-9])
			return true
		}},
		{blobsBucket, func(k, v []byte) bool {
			blob, of := bytes.CutSuffix(k, suffix)
			if of && bytes.Equal(v, []byte("o")) {
				known.Outputs = append(known.Outputs, Blob{ID: string(blob)})
			}
			return of
		}},
	} {
		if err := t.Bucket(b.name).ForEach(func(k, v []byte) error {
			if b.of(k, v) {
				found = append(found, entry{b.name, bytes.Clone(k)})
			}
			return nil
		}); err != nil {
			return known, err
		}
	}
	for _, e := range found {
		err = errors.Join(err, t.delete(e.bucket, e.key))
		if bytes.Equal(e.bucket, openBucket) {
			err = errors.Join(err, t.countOpen(-1))
		}
	}
	return known, err
}

// reindex puts an entry of the ended jobs right that is not as it was written, as far as the order knows what it was.
func (j *Journal) reindex(t *txn, key []byte) error {
	err := t.delete(endedBucket, key)
	if len(key) != 16 {
		return err
	}
	_, id, _ := splitOrder(t.Bucket(orderBucket).Get(key[8:]))
	if job, lerr := j.load(t.Tx, id); lerr == nil && job.State.Ended() {
		key, value := endedEntry(&job)
		err = errors.Join(err, t.put(endedBucket, key, value))
	}
	return err
}
