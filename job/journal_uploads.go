package job

import (
	"bytes"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// SetUploader notes whose a blob is that came without a job. The note outlives restarts, until ForgetUploads.
func (j *Journal) SetUploader(blob, owner string) error {
	if blob == "" || bytes.ContainsRune([]byte(blob), 0) {
		return fmt.Errorf("job: the id of an upload is %q; allowed: a text without 0x00", blob)
	}
	return j.update(func(t *txn) error { return t.put(uploadsBucket, []byte(blob), []byte(owner)) })
}

// ForgetUploads removes what SetUploader noted of blobs; there may be none.
func (j *Journal) ForgetUploads(blobs ...string) error {
	return j.update(func(t *txn) (err error) {
		for _, id := range blobs {
			if t.Bucket(uploadsBucket).Get([]byte(id)) != nil {
				err = errors.Join(err, t.delete(uploadsBucket, []byte(id)))
			}
		}
		return err
	})
}

// OwnerOfBlob returns the owner of a blob: who uploaded it, else the owner of the job that JobOfBlob finds. known is
// false where there is neither.
func (j *Journal) OwnerOfBlob(id string) (owner string, known bool, err error) {
	if id == "" {
		return "", false, nil
	}
	err = j.view(func(tx *bolt.Tx) error {
		if v := tx.Bucket(uploadsBucket).Get([]byte(id)); v != nil {
			owner, known = string(v), true
		}
		return nil
	})
	if err != nil || known {
		return owner, known, err
	}
	of, ok, err := j.JobOfBlob(id)
	if err != nil || !ok {
		return "", false, err
	}
	job, err := j.Get(of)
	if errors.Is(err, ErrUnknown) || errors.Is(err, ErrExpired) { // removed meanwhile
		return "", false, nil
	}
	return job.Owner, err == nil, err
}
