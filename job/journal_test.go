package job

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field of a value to something that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("text of " + v.Type().String())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(1<<64 - 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte(`{"a":1}`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	default:
		panic(v.Kind())
	}
}

// Every field of a job is in its record, and there after the journal was opened again.
func TestEveryFieldIsRecorded(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	var want Job
	fill(reflect.ValueOf(&want).Elem())
	want.State = Queued
	kept, existed, err := j.Accept(want)
	if err != nil || existed || kept.Seq != 1 {
		t.Fatalf("%+v, %v, %v", kept, existed, err)
	}
	want.Seq = 1
	got, err := reopen(t, j).Get(want.ID)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// A key of an owner is one job, whatever comes with it later.
func TestKeys(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	first, _, err := j.Accept(Job{ID: "a", Owner: "ann", Key: "k", KeyHash: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		job     Job
		existed bool
		err     error
	}{
		{Job{ID: "b", Owner: "ann", Key: "k", KeyHash: "1"}, true, nil},
		{Job{ID: "b", Owner: "ann", Key: "k", KeyHash: "2"}, false, ErrKeyReused},
		{Job{ID: "c", Owner: "bob", Key: "k", KeyHash: "2"}, false, nil},
		{Job{ID: "d", Owner: "ann", Key: "l", KeyHash: "2"}, false, nil},
		{Job{ID: "e", Owner: "ann"}, false, nil},
		{Job{ID: "f", Owner: "ann"}, false, nil},
	} {
		earlier, existed, err := j.Keyed(c.job.Owner, c.job.Key, c.job.KeyHash)
		if existed != c.existed || !errors.Is(err, c.err) || existed && !cmp.Equal(earlier, first) {
			t.Errorf("Keyed %+v: %+v, %v, %v", c.job, earlier, existed, err)
		}
		kept, existed, err := j.Accept(c.job)
		if existed != c.existed || !errors.Is(err, c.err) || existed && !cmp.Equal(kept, first) || err == nil && !existed && kept.ID != c.job.ID {
			t.Errorf("Accept %+v: %+v, %v, %v", c.job, kept, existed, err)
		}
	}
	if _, err := j.Update("a", func(job *Job) error { job.State = Done; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, existed, err := reopen(t, j).Keyed("ann", "k", "1"); !existed || err != nil {
		t.Errorf("a job that is done: %v, %v", existed, err)
	}
	if err := j.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if _, existed, err := j.Accept(Job{ID: "g", Owner: "ann", Key: "k", KeyHash: "2"}); existed || err != nil {
		t.Errorf("after its job was removed: %v, %v", existed, err)
	}
}

// What can't be recorded is refused, in words that name it, and nothing is written.
func TestRefusals(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	if _, _, err := j.Accept(Job{ID: "a", Owner: "ann"}); err != nil {
		t.Fatal(err)
	}
	for want, job := range map[string]Job{
		"ID is empty":              {},
		"ID has 256 bytes":         {ID: strings.Repeat("x", 256)},
		`Owner is "a\x00b"`:        {ID: "b", Owner: "a\x00b"},
		"Key has 256 bytes":        {ID: "b", Key: strings.Repeat("x", 256)},
		"Priority is 101; allowed": {ID: "b", Priority: 101},
		"State of a new job":       {ID: "b", State: Done},
		`State is "late"`:          {ID: "b", State: "late"},
		`ID is "a", which is in`:   {ID: "a"},
		"blob 0 has the id":        {ID: "b", Inputs: []Blob{{}}},
		"Request has 1 bytes that": {ID: "b", Request: []byte("{")},
		`Owner is "\xff"`:          {ID: "b", Owner: "\xff"},
	} {
		if _, _, err := j.Accept(job); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v: want %q", job, err, want)
		}
	}
	sentinel := errors.New("no")
	for want, change := range map[string]func(*Job) error{
		"no":                          func(*Job) error { return sentinel },
		"changes what names it":       func(job *Job) error { job.Owner = "bob"; return nil },
		"Priority is -101":            func(job *Job) error { job.Priority = -101; return nil },
		`State is "late"`:             func(job *Job) error { job.State = "late"; return nil },
		"Parameters has 1 bytes that": func(job *Job) error { job.Parameters = []byte("x"); return nil },
	} {
		if _, err := j.Update("a", change); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
	if _, err := j.Update("b", func(*Job) error { return nil }); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown job: %v", err)
	}
	if err := j.Remove("a"); !errors.Is(err, ErrNotEnded) {
		t.Errorf("removing an open job: %v", err)
	}
	if _, err := j.Update("a", func(job *Job) error { job.State = Failed; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Update("a", func(job *Job) error { job.State = Queued; return nil }); err == nil || !strings.Contains(err.Error(), "which has ended") {
		t.Errorf("a job that has ended: %v", err)
	}
	page, err := j.List(Filter{})
	if err != nil || len(page.Jobs) != 1 || page.Jobs[0].State != Failed || page.Jobs[0].Seq != 1 || page.Jobs[0].Owner != "ann" {
		t.Errorf("%+v, %v", page, err)
	}
}

// Blobs lead to the job that made them, else to one that reads them, until there is none.
func TestJobOfBlob(t *testing.T) {
	j := openJournal(t, JournalOptions{})
	for _, job := range []Job{{ID: "a", Inputs: []Blob{{ID: "upload"}}}, {ID: "b", Inputs: []Blob{{ID: "upload"}, {ID: "made"}}}, {ID: "c"}} {
		if _, _, err := j.Accept(job); err != nil {
			t.Fatal(err)
		}
	}
	done := func(job *Job) error {
		job.State = Done
		if job.ID == "c" {
			job.Outputs = []Blob{{ID: "made"}}
		}
		return nil
	}
	want := func(blob string, jobs ...string) {
		t.Helper()
		id, ok, err := j.JobOfBlob(blob)
		if err != nil || ok != (len(jobs) > 0) || ok && !slices.Contains(jobs, id) {
			t.Errorf("%s: %q, %v, %v: want one of %q", blob, id, ok, err, jobs)
		}
	}
	want("upload", "a", "b")
	want("made", "b")
	want("uploa")
	for _, id := range []string{"a", "b", "c"} {
		if _, err := j.Update(id, done); err != nil {
			t.Fatal(err)
		}
	}
	want("made", "c")
	if err := j.Remove("a", "c"); err != nil {
		t.Fatal(err)
	}
	want("upload", "b")
	want("made", "b")
	if err := j.Remove("b"); err != nil {
		t.Fatal(err)
	}
	want("upload")
	want("made")
}

// What is written to a file that its path does not name any more would be lost: no job is accepted then.
func TestFileRemoved(t *testing.T) {
	for name, after := range map[string]func(path string) error{
		"removed":  os.Remove,
		"moved":    func(path string) error { return os.Rename(path, path+".old") },
		"replaced": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "jobs.db")
			j, err := OpenJournal(path, JournalOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer j.Close()
			if _, _, err := j.Accept(Job{ID: "before"}); err != nil {
				t.Fatal(err)
			}
			if err := after(path); err != nil {
				t.Fatal(err)
			}
			if _, _, err := j.Accept(Job{ID: "after"}); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("accepted: %v", err)
			}
			if err := j.Present(); err == nil {
				t.Error("it is said to be there")
			}
		})
	}
}
