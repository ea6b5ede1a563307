package worker

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// Jobs that wait together are one computation, and each is a job of its own all the same.
func TestBatchTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 1, sleeps, nil)
		r.busy(t)
		var ids []string
		for _, prompt := range []string{"a", "b", "c", "d", "e", "f"} {
			ids = append(ids, r.ask(t, prompt, "key", ""))
		}
		other := r.ask(t, "other", "another", "")
		watched, err := r.queue.Watch(t.Context(), ids[1], 0)
		if err != nil {
			t.Fatal(err)
		}
		var events []string
		for e := range watched {
			if e.Kind == job.KindStep {
				events = append(events, fmt.Sprint(e.Step, "/", e.Steps))
			} else if e.Position == 0 {
				events = append(events, string(e.State))
			}
		}
		if want := []string{"running", "1/2", "2/2", "done"}; !slices.Equal(events, want) {
			t.Errorf("events %q, want %q", events, want)
		}
		for i, id := range ids {
			j := r.end(t, id)
			if want := "of " + string(rune('a'+i)); j.State != job.Done || j.Attempts != 1 || len(j.Outputs) != 1 || j.Outputs[0].ID != id || i < 4 && (len(j.Warnings) != 1 || j.Warnings[0] != want) {
				t.Errorf("%+v, want done with the warning %q", j, want)
			}
		}
		if j := r.end(t, other); j.State != job.Done {
			t.Errorf("%+v", j)
		}
		if got, want := fmt.Sprint(r.fakes[0].batches, r.sizes), "[a+b+c+d e+f] [1 4 2 1]"; got != want {
			t.Errorf("computed %s, want %s", got, want)
		}
	})
}

// A member that is cancelled, one whose image is missing and one that the engine refuses end by themselves; the others
// have their images.
func TestBatchMembersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 1, func(ctx context.Context, prompt string) error {
			time.Sleep(time.Millisecond)
			if prompt == "refused" {
				return &sdxl.RequestError{Field: "width", Value: 1, Allowed: "more"}
			}
			return nil
		}, nil)
		r.busy(t)
		ids := map[string]string{}
		for _, prompt := range []string{"cancelled", "missing", "refused", "fine"} {
			source := ""
			if prompt == "missing" {
				source = "no such image"
			}
			ids[prompt] = r.ask(t, prompt, "key", source)
		}
		for r.queue.Stats().Computing != 3 { // after the missing one
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(1500 * time.Millisecond)
		if _, err := r.queue.Cancel(ids["cancelled"], ""); err != nil {
			t.Fatal(err)
		}
		for prompt, want := range map[string]job.State{"cancelled": job.Cancelled, "missing": job.Failed, "refused": job.Failed, "fine": job.Done} {
			if j := r.end(t, ids[prompt]); j.State != want || want == job.Failed && j.Error.Kind == "" {
				t.Errorf("%s: %s, %v, want %s", prompt, j.State, j.Error, want)
			}
		}
		if got, want := fmt.Sprint(r.fakes[0].batches), "[cancelled+fine+refused]"; got != want {
			t.Errorf("computed %s, want %s", got, want)
		}
		synctest.Wait()
		if n := len(r.encoders); n != 0 {
			t.Errorf("%d encoders are held for ever", n)
		}
	})
}

// A job that brings its device down takes the others of its batch with it once: each is computed alone then.
func TestBatchPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 1, func(_ context.Context, prompt string) error {
			time.Sleep(time.Millisecond)
			if prompt == "poison" {
				return errFault
			}
			return nil
		}, nil)
		r.busy(t)
		good, poison, well := r.ask(t, "good", "key", ""), r.ask(t, "poison", "key", ""), r.ask(t, "well", "key", "")
		for _, id := range []string{good, well} {
			if j := r.end(t, id); j.State != job.Done || j.Attempts != 2 {
				t.Errorf("%s after %d attempts, want done after 2", j.State, j.Attempts)
			}
		}
		if j := r.end(t, poison); j.State != job.Failed || j.Attempts != 3 || j.Error.Kind != KindDeviceFailed {
			t.Errorf("%s after %d attempts, %v", j.State, j.Attempts, j.Error)
		}
		if got, want := fmt.Sprint(r.fakes[0].batches), "[good+poison+well]"; got != want {
			t.Errorf("computed together %s, want %s once", got, want)
		}
	})
}

// An engine that panics, or forgets jobs, fails them and not the pool.
func TestBatchFaults(t *testing.T) {
	for odd, says := range map[string]string{"panics": "in the middle", "forgets": "does not say what became"} {
		synctest.Test(t, func(t *testing.T) {
			r := newBatchRig(t, 1, sleeps, nil)
			r.fakes[0].odd = odd
			r.busy(t)
			ids := []string{r.ask(t, "a", "key", ""), r.ask(t, "b", "key", "")}
			for _, id := range ids {
				if j := r.end(t, id); j.State != job.Failed || j.Error.Kind != KindInternal {
					t.Errorf("%s: %s, %v, want an internal error: %s", odd, j.State, j.Error, says)
				}
			}
			r.fakes[0].odd = ""
			if j := r.end(t, r.ask(t, "c", "key", "")); j.State != job.Done {
				t.Errorf("after it: %s", j.State)
			}
		})
	}
}

// The time that a job may compute is that of each job of its batch.
func TestBatchTimeout(t *testing.T) {
	for limit, want := range map[time.Duration]job.State{time.Second + time.Second/2: job.Done, time.Second / 2: job.Failed} {
		synctest.Test(t, func(t *testing.T) {
			r := newBatchRig(t, 1, sleeps, func(c *Config) { c.Timeout = limit })
			r.busy(t)
			a, b := r.ask(t, "a", "key", ""), r.ask(t, "b", "key", "")
			for _, id := range []string{a, b} { // two seconds for both
				if j := r.end(t, id); j.State != want || want == job.Failed && j.Error.Kind != KindTookTooLong {
					t.Errorf("limit %v: %s, %v, want %s", limit, j.State, j.Error, want)
				}
			}
		})
	}
}

// Two devices share what waits, and without -batch, or for jobs without a key, each job is computed alone.
func TestBatchShares(t *testing.T) {
	for _, c := range []struct {
		devices, batch int
		key, want      string
	}{{2, 4, "key", "[1 1 2 2]"}, {1, 1, "key", "[1 1 1 1 1]"}, {1, 4, "", "[1 1 1 1 1]"}} {
		synctest.Test(t, func(t *testing.T) {
			r := newBatchRig(t, c.devices, sleeps, func(o *Config) { o.Batch = c.batch })
			r.busy(t)
			var ids []string
			for range 4 {
				ids = append(ids, r.ask(t, "a", c.key, ""))
			}
			for _, id := range ids {
				r.end(t, id)
			}
			synctest.Wait()
			slices.Sort(r.sizes)
			if got := fmt.Sprint(r.sizes); got != c.want {
				t.Errorf("%+v: batches of %s, want %s", c, got, c.want)
			}
		})
	}
}

// Jobs of a queue that is closed in the middle of a batch wait for the next one, and their attempts do not count.
func TestBatchStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 1, sleeps, nil)
		r.busy(t)
		ids := []string{r.ask(t, "a", "key", ""), r.ask(t, "b", "key", "")}
		for r.queue.Stats().Computing != 2 {
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		r.queue.Close()
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			j, err := r.journal.Get(id)
			if err != nil || j.State != job.Interrupted || j.Attempts != 0 || j.Batch != "key" {
				t.Errorf("%+v, %v", j, err)
			}
		}
	})
}
