package job

import (
	"bytes"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Bounds of a page.
const (
	defaultLimit = 50
	maxLimit     = 1000
	maxScanned   = 5000 // records that one List reads
)

// Filter selects jobs. Its zero value selects all.
type Filter struct {
	Owner  *string // nil is any
	States []State // none is any
	Model  string  // "" is any
	Before uint64  // only jobs of a smaller Seq: Page.Next of the page before; 0 is from the newest
	Limit  int     // jobs of a page: 1 to 1000, 50 if 0
}

// Page is some of the jobs that a Filter selects, the newest first.
type Page struct {
	Jobs    []Job
	Next    uint64   // Filter.Before of the next page, which may have fewer jobs than the limit, or none; 0 is the end
	Damaged []string // ids of jobs whose records can't be read, in the range of the page, whatever the filter
}

// List returns a page of jobs.
func (j *Journal) List(f Filter) (page Page, err error) {
	if f.Limit == 0 {
		f.Limit = defaultLimit
	}
	if f.Limit < 1 || f.Limit > maxLimit {
		return Page{}, fmt.Errorf("job: Limit is %d; allowed: 1 to %d", f.Limit, maxLimit)
	}
	for _, s := range f.States {
		if !s.valid() {
			return Page{}, fmt.Errorf("job: a state of the filter is %q; allowed: %s, %s, %s, %s, %s, %s", s, Queued, Running, Interrupted, Done, Failed, Cancelled)
		}
	}
	err = j.view(func(tx *bolt.Tx) error {
		page = j.list(tx, f)
		return nil
	})
	return page, err
}

func (j *Journal) list(tx *bolt.Tx, f Filter) (page Page) {
	bucket, prefix := orderBucket, []byte(nil)
	idOf := func(v []byte) string {
		_, id, _ := splitOrder(v)
		return id
	}
	switch {
	case len(f.States) > 0 && !slices.ContainsFunc(f.States, State.Ended):
		bucket, idOf = openBucket, func(v []byte) string { return string(v) }
	case f.Owner != nil:
		bucket, prefix, idOf = ownersBucket, joined(*f.Owner, nil), func(v []byte) string { return string(v) }
	}
	before := f.Before
	if before == 0 {
		before = 1<<64 - 1
	}
	c := tx.Bucket(bucket).Cursor()
	previous := c.Prev
	if k, _ := c.Seek(append(bytes.Clone(prefix), number(before)...)); k == nil { // the first one that is not before
		previous = c.Last
	}
	k, v := previous()
	for scanned := 0; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Prev() {
		if len(page.Jobs) == f.Limit || scanned == maxScanned {
			page.Next = numberOf(k[len(prefix):]) + 1
			return page
		}
		scanned++
		id, seq := idOf(v), numberOf(k[len(prefix):])
		job, err := j.load(tx, id)
		switch {
		case err != nil, job.Seq != seq, len(prefix) > 0 && job.Owner != *f.Owner:
			page.Damaged = append(page.Damaged, id)
		case f.selects(&job):
			page.Jobs = append(page.Jobs, job)
		}
	}
	return page
}

func (f *Filter) selects(j *Job) bool {
	return (f.Owner == nil || *f.Owner == j.Owner) &&
		(len(f.States) == 0 || slices.Contains(f.States, j.State)) &&
		(f.Model == "" || f.Model == j.Model)
}

// Open returns the jobs that have not ended, in the order of their acceptance.
func (j *Journal) Open() (jobs []Job, err error) {
	err = j.view(func(tx *bolt.Tx) error {
		return tx.Bucket(openBucket).ForEach(func(_, id []byte) error {
			job, err := j.load(tx, string(id))
			if err == nil {
				jobs = append(jobs, job)
			}
			return err
		})
	})
	return jobs, err
}
