package job

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// written makes a journal with a history, so that its file has pages that are free and buckets of every size, and
// returns its file and what it must say of each job, and of the last that was changed before that.
func written(t *testing.T) (file []byte, jobs map[string]Job, last Job) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobs.db")
	j, err := OpenJournal(path, JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	end := func(state State) func(*Job) error {
		return func(job *Job) error {
			job.State = state
			if state == Done {
				job.Outputs = []Blob{{Role: "image", ID: "blob of " + job.ID, Type: "image/png", Width: 64, Height: 32, Bytes: 1000}}
			}
			return nil
		}
	}
	for i := range 60 {
		id := fmt.Sprintf("job-%02d", i)
		job := Job{ID: id, Owner: []string{"ann", "bob", ""}[i%3], Request: fmt.Appendf(nil, `{"prompt":"%s"}`, strings.Repeat("word ", 20*(i%7))), Model: "demo"}
		if i%5 == 0 {
			job.Key, job.KeyHash = "key "+id, "hash"
		}
		if _, _, err := j.Accept(job); err != nil {
			t.Fatal(err)
		}
		states := []State{Done, Queued, Failed, Running, Cancelled, Done}
		if state := states[i%len(states)]; state != Queued {
			if _, err := j.Update(id, end(state)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if removed, err := j.Expire(time.Now().Add(time.Hour), 0, 10); err != nil || len(removed) != 10 {
		t.Fatal(removed, err)
	}
	if err := j.Remove("job-48", "job-54"); err != nil {
		t.Fatal(err)
	}
	if last, err = j.Get("job-57"); err != nil || last.State != Running {
		t.Fatal(last, err)
	}
	if _, err := j.Update("job-57", end(Done)); err != nil {
		t.Fatal(err)
	}
	jobs = map[string]Job{}
	page, err := j.List(Filter{Limit: 1000})
	if err != nil || len(page.Damaged) > 0 || len(page.Jobs) != 48 {
		t.Fatalf("%d jobs, damaged %v, %v", len(page.Jobs), page.Damaged, err)
	}
	for _, job := range page.Jobs {
		jobs[job.ID] = job
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if file, err = os.ReadFile(path); err != nil {
		t.Fatal(err)
	}
	return file, jobs, last
}

// examine opens a file that is damaged, and wants of each job that was written its record, or that it is damaged. It
// tells what came of it.
func examine(t *testing.T, file []byte, jobs map[string]Job, last Job) (outcome string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jobs.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	j, err := OpenJournal(path, JournalOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		var damaged *DamagedError
		if !errors.As(err, &damaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("opening: %v", err)
		}
		return "refused"
	}
	defer j.Close()
	said := map[string]bool{}
	page, err := j.List(Filter{Limit: 1000})
	if err != nil {
		t.Errorf("listing: %v", err)
	}
	for _, id := range page.Damaged {
		said[id] = true
	}
	outcome = "whole"
	for id, want := range jobs {
		got, err := j.Get(id)
		var damaged *DamagedError
		switch {
		case errors.As(err, &damaged) && damaged.ID == id, said[id]:
			outcome = "a record is reported"
		case err == nil && got.State == Failed && got.Error != nil && got.Error.Kind == KindDamagedRecord && !want.State.Ended():
			outcome = "an open job has failed"
		case err != nil:
			t.Errorf("%s: %v", id, err)
		case id == last.ID && cmp.Equal(got, last) && log.Len() > 0:
			outcome = "the last write is lost"
		default:
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s is not as it was written (log %q):\n%s", id, log.String(), diff)
			}
		}
	}
	open, err := j.Open()
	if err != nil {
		t.Errorf("open jobs: %v", err)
	}
	isOpen := map[string]bool{}
	for _, job := range open {
		isOpen[job.ID] = true
	}
	for id, want := range jobs {
		if got, err := j.Get(id); err == nil && isOpen[id] == got.State.Ended() {
			t.Errorf("%s is %s, was %s; in the list of open jobs: %v", id, got.State, want.State, isOpen[id])
		}
	}
	if outcome == "whole" && log.Len() > 0 {
		outcome = "repaired"
	}
	// What is left can be written to.
	if _, _, err := j.Accept(Job{ID: "new"}); err != nil {
		t.Errorf("accepting: %v", err)
	}
	if _, err := j.Expire(time.Now().Add(-time.Hour), 1<<40, 0); err != nil {
		t.Errorf("expiring: %v", err)
	}
	for _, id := range page.Damaged {
		if err := j.Remove(id); err != nil && !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrNotEnded) && !errors.Is(err, ErrExpired) {
			t.Errorf("removing %s, which is damaged: %v", id, err)
		}
	}
	return outcome
}

// A file with a flipped bit opens with what was written, or says what is damaged.
func TestFlippedBits(t *testing.T) {
	file, jobs, last := written(t)
	used := usedPages(t, file)
	damage(t, func(random *rand.Rand) string {
		page := used[random.Intn(len(used))]
		bit := 8*page*os.Getpagesize() + random.Intn(8*os.Getpagesize())
		flipped := bytes.Clone(file)
		flipped[bit/8] ^= 1 << (bit % 8)
		outcome := examine(t, flipped, jobs, last)
		if t.Failed() {
			t.Fatalf("bit %d of byte %d", bit%8, bit/8)
		}
		return outcome
	})
}

// usedPages lists the pages of a file that are not free.
func usedPages(t *testing.T, file []byte) (list []int) {
	t.Helper()
	p := &pages{file: bytes.NewReader(file)}
	var err error
	if p.meta, _, err = readMeta(p.file); err != nil {
		t.Fatal(err)
	}
	p.used = make([]bool, p.high)
	p.used[0], p.used[1] = true, true
	if err := p.tree(p.root, nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := p.read(p.freelist); err != nil {
		t.Fatal(err)
	}
	for id, used := range p.used {
		if used {
			list = append(list, id)
		}
	}
	return list
}

// So does a file that was cut.
func TestCutFile(t *testing.T) {
	file, jobs, last := written(t)
	damage(t, func(random *rand.Rand) string {
		n := 1 + random.Intn(len(file)-1)
		outcome := examine(t, file[:n], jobs, last)
		if t.Failed() {
			t.Fatalf("cut to %d bytes of %d", n, len(file))
		}
		return outcome
	})
}

func damage(t *testing.T, once func(*rand.Rand) string) {
	seed := time.Now().UnixNano()
	random := rand.New(rand.NewSource(seed))
	t.Logf("seed %d", seed)
	rounds := 200
	if testing.Short() {
		rounds = 40
	}
	outcomes := map[string]int{}
	for range rounds {
		outcomes[once(random)]++
	}
	t.Log(outcomes)
}
