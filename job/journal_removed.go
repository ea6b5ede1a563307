package job

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"
)

const day = 24 * time.Hour

// Removed is how many outputs the jobs of an owner had that were done, were created on the day of a time, in UTC, and
// have been removed since. The journal knows it of the last day alone of which there is such a job.
func (j *Journal) Removed(owner string, on time.Time) (outputs int, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		if of, n := removedOf(tx, owner); of.Equal(on.UTC().Truncate(day)) {
			outputs = n
		}
		return nil
	})
	return outputs, err
}

func removedKey(owner string) []byte { return joined("removed", []byte(owner)) }

// removedOf is what was counted, the zero time where there is nothing, or not what was written.
func removedOf(tx *bolt.Tx, owner string) (of time.Time, outputs int) {
	v := tx.Bucket(metaBucket).Get(removedKey(owner))
	if len(v) != 20 || !bytes.Equal(v[:4], binary.BigEndian.AppendUint32(nil, crc32.Checksum(v[4:], castagnoli))) {
		return time.Time{}, 0
	}
	return time.Unix(int64(numberOf(v[4:])), 0).UTC(), int(numberOf(v[12:]))
}

// countRemoved counts the outputs of a job that is removed.
func (t *txn) countRemoved(owner string, created time.Time, outputs int) error {
	today := created.UTC().Truncate(day)
	of, n := removedOf(t.Tx, owner)
	switch {
	case outputs == 0 || today.Before(of):
		return nil
	case today.After(of):
		n = 0
	}
	v := append(number(uint64(today.Unix())), number(uint64(n+outputs))...)
	return t.put(metaBucket, removedKey(owner), append(binary.BigEndian.AppendUint32(nil, crc32.Checksum(v, castagnoli)), v...))
}
