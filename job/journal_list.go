package job

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
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
	Task   string  // "" is any
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
	marks, waiting := f.marks(tx), &openCursor{}
	if len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s State) bool { return !s.Ended() }) {
		waiting.c = tx.Bucket(openBucket).Cursor()
	}
	c := tx.Bucket(bucket).Cursor()
	previous := c.Prev
	if k, _ := c.Seek(append(bytes.Clone(prefix), number(before)...)); k == nil { // the first one that is not before
		previous = c.Last
	}
	k, v := previous()
	for scanned := 0; k != nil && bytes.HasPrefix(k, prefix); k, v = c.Prev() {
		if waiting.has(k[len(prefix):]) {
			continue
		}
		if len(page.Jobs) == f.Limit || scanned == maxScanned {
			page.Next = numberOf(k[len(prefix):]) + 1
			return page
		}
		scanned++
		id, seq := idOf(v), numberOf(k[len(prefix):])
		if marks.lackedBy(id, k[len(prefix):]) {
			continue
		}
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

// openCursor finds jobs that have not ended, of falling numbers. The zero one finds none.
type openCursor struct {
	c    *bolt.Cursor
	last []byte // the largest number that is not above the one that was asked for; nil before the first
}

// has reports whether the job of a number has not ended.
func (o *openCursor) has(seq []byte) bool {
	if o.c == nil {
		return false
	}
	if o.last == nil {
		if o.last, _ = o.c.Seek(seq); o.last == nil {
			o.last, _ = o.c.Last()
		}
	}
	for o.last != nil && bytes.Compare(o.last, seq) > 0 {
		o.last, _ = o.c.Prev()
	}
	if o.last == nil {
		o.c = nil // there are none below
	}
	return bytes.Equal(o.last, seq)
}

// marks are texts that the records of all jobs have which a filter selects: one of each list. A record that lacks them
// need not be decoded, which takes longer than looking for them.
type marks struct {
	jobs, order *bolt.Bucket
	texts       [][][]byte
}

func (f *Filter) marks(tx *bolt.Tx) *marks {
	m := &marks{jobs: tx.Bucket(jobsBucket), order: tx.Bucket(orderBucket)}
	member := func(name string, values ...string) {
		var texts [][]byte
		for _, value := range values {
			text, err := json.Marshal(value)
			if err != nil || len(value) == 0 { // which a record leaves out
				return
			}
			texts = append(texts, append([]byte(`"`+name+`":`), text...))
		}
		if len(texts) > 0 {
			m.texts = append(m.texts, texts)
		}
	}
	if f.Owner != nil {
		member("owner", *f.Owner)
	}
	var states []string
	for _, s := range f.States {
		states = append(states, string(s))
	}
	member("state", states...)
	member("model", f.Model)
	member("task", f.Task)
	return m
}

// lackedBy reports whether the record of a job is as it was written and lacks a mark. Of any other it does
// not say so.
func (m *marks) lackedBy(id string, seq []byte) bool {
	if len(m.texts) == 0 {
		return false
	}
	record := m.jobs.Get([]byte(id))
	sum, ordered, ok := splitOrder(m.order.Get(seq))
	switch {
	case len(record) < 4 || !ok || ordered != id || !bytes.Equal(sum, record[:4]):
		return false
	case crc32.Checksum(record[4:], castagnoli) != binary.BigEndian.Uint32(sum):
		return false
	}
	for _, texts := range m.texts {
		if !slices.ContainsFunc(texts, func(text []byte) bool { return bytes.Contains(record, text) }) {
			return true
		}
	}
	return false
}

func (f *Filter) selects(j *Job) bool {
	return (f.Owner == nil || *f.Owner == j.Owner) &&
		(len(f.States) == 0 || slices.Contains(f.States, j.State)) &&
		(f.Model == "" || f.Model == j.Model) && (f.Task == "" || f.Task == j.Task)
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
