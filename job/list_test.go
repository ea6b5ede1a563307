package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ids lists the ids of jobs.
func ids(jobs []Job) (list []string) {
	for _, j := range jobs {
		list = append(list, j.ID)
	}
	return list
}

// Lists are those that a scan of all jobs gives, whatever the filter, the page and the index that is used.
func TestListsAreThoseOfAScan(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	states := []State{Queued, Running, Interrupted, Done, Failed, Cancelled}
	var all []Job // the newest first
	for i := range 61 {
		job := Job{
			ID: fmt.Sprint(i), Owner: []string{"", "a", "ab", `b"<é`}[i%4], Model: []string{"x", `y&"`}[i%3%2], Task: []string{"inpaint", ""}[i%2],
			Request: json.RawMessage(`{"state":"done","prompt":"\"state\":\"failed\"","owner":"a","model":"x"}`), // must not pass for its own
		}
		if _, _, err := j.Accept(job); err != nil {
			t.Fatal(err)
		}
		made, err := j.Update(job.ID, func(job *Job) error { job.State = states[i*5%6]; return nil })
		if err != nil {
			t.Fatal(err)
		}
		all = slices.Insert(all, 0, made)
	}
	if err := j.Remove(ids(slices.DeleteFunc(slices.Clone(all), func(j Job) bool { return !j.State.Ended() }))[:3]...); err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(job Job) bool {
		_, err := j.Get(job.ID)
		return errors.Is(err, ErrUnknown)
	})
	filters := []Filter{{}}
	for _, owner := range []string{"", "a", "ab", `b"<é`, "c"} {
		filters = append(filters, Filter{Owner: &owner}, Filter{Owner: &owner, States: []State{Queued, Interrupted}}, Filter{Owner: &owner, Model: `y&"`, States: []State{Done}})
	}
	for _, s := range states {
		filters = append(filters, Filter{States: []State{s}}, Filter{States: []State{s, Done}, Model: "x"})
	}
	filters = append(filters, Filter{Task: "inpaint"}, Filter{Task: "x"}, Filter{Task: "inpaint", Model: "x", States: []State{Done}})
	for _, f := range filters {
		for _, limit := range []int{0, 1, 2, 7, 1000} {
			want := ids(slices.DeleteFunc(slices.Clone(all), func(j Job) bool { return !f.selects(&j) }))
			var got []string
			for f.Limit, f.Before = limit, 0; ; {
				page, err := j.List(f)
				if err != nil || len(page.Damaged) > 0 || len(page.Jobs) > max(limit, 50) {
					t.Fatalf("%+v: %d jobs, damaged %v, %v", f, len(page.Jobs), page.Damaged, err)
				}
				got = append(got, ids(page.Jobs)...)
				if f.Before = page.Next; f.Before == 0 {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%+v: %v, want %v", f, got, want)
			}
		}
	}
	for want, f := range map[string]Filter{"Limit is 1001": {Limit: 1001}, "Limit is -1": {Limit: -1}, `is "late"`: {States: []State{"late"}}} {
		if _, err := j.List(f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", f, err)
		}
	}
}

// Retention removes the oldest jobs that have ended, first by age, then by the bytes of their outputs, and remembers
// for a while that they were there.
func TestExpire(t *testing.T) {
	c := newClock()
	j := openJournal(t, JournalOptions{Now: c.Now})
	start := c.Now()
	for i := range 10 {
		id := fmt.Sprint(i)
		if _, _, err := j.Accept(Job{ID: id, Key: id}); err != nil {
			t.Fatal(err)
		}
		c.add(time.Minute)
		if i == 3 {
			continue // stays open
		}
		if _, err := j.Update(id, func(job *Job) error {
			job.State, job.Outputs = Done, []Blob{{ID: "blob " + id, Bytes: 100}}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	expire := func(before time.Time, keep int64, limit int, want ...string) {
		t.Helper()
		removed, err := j.Expire(before, keep, limit)
		if got := ids(removed); err != nil || !slices.Equal(got, want) {
			t.Errorf("removed %q, %v: want %q", got, err, want)
		}
		for _, job := range removed {
			if len(job.Outputs) != 1 || job.Outputs[0].ID != "blob "+job.ID {
				t.Errorf("%+v", job.Outputs)
			}
			if _, err := j.Get(job.ID); !errors.Is(err, ErrExpired) {
				t.Errorf("%s: %v", job.ID, err)
			}
			if _, ok, err := j.JobOfBlob("blob " + job.ID); ok || err != nil {
				t.Errorf("the blob of %s: %v, %v", job.ID, ok, err)
			}
			if _, existed, err := j.Keyed("", job.ID, ""); existed || err != nil {
				t.Errorf("the key of %s: %v, %v", job.ID, existed, err)
			}
			if _, _, err := j.Accept(Job{ID: job.ID}); err == nil {
				t.Errorf("%s was accepted again", job.ID)
			}
		}
	}
	expire(start, 0, 0)
	expire(start.Add(3*time.Minute), 0, 0, "0", "1") // job 2 ended at that minute
	expire(start, 650, 0, "2")
	expire(start, 600, 0)
	expire(start, 1, 2, "4", "5")
	expire(start.Add(9*time.Minute), 300, 0, "6", "7")
	reopen(t, j)
	if _, err := j.Get("0"); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
	c.add(tombstoneAge)
	expire(start, 0, 0)
	if _, err := j.Get("0"); !errors.Is(err, ErrExpired) {
		t.Errorf("%v", err)
	}
	c.add(time.Minute)
	expire(start, 0, 0)
	if _, err := j.Get("0"); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	page, err := j.List(Filter{})
	if got := ids(page.Jobs); err != nil || !slices.Equal(got, []string{"9", "8", "3"}) {
		t.Errorf("left: %v, %v", got, err)
	}
}

// A record that is damaged is an error, whatever the filter.
func TestListOfDamagedRecords(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	for _, id := range []string{"a", "b", "c"} {
		if _, _, err := j.Accept(Job{ID: id, Owner: "ann", Model: "x"}); err != nil {
			t.Fatal(err)
		}
		if _, err := j.Update(id, func(job *Job) error { job.State = Done; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.db.Update(func(tx *bolt.Tx) error {
		jobs := tx.Bucket(jobsBucket)
		record := bytes.Clone(jobs.Get([]byte("b")))
		record[len(record)-2] ^= 1
		return errors.Join(jobs.Put([]byte("b"), record), jobs.Put([]byte("c"), []byte("x")))
	}); err != nil {
		t.Fatal(err)
	}
	for _, f := range []Filter{{}, {States: []State{Failed}}, {Model: "y"}, {Owner: new("ann"), States: []State{Cancelled, Failed}}} {
		page, err := j.List(f)
		if err != nil || !slices.Equal(page.Damaged, []string{"c", "b"}) {
			t.Errorf("%+v: damaged %q, %v", f, page.Damaged, err)
		}
	}
}
