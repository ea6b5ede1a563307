package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// batchFake is a fake that computes several jobs together: a second for each of two steps, in which each job does what
// run says.
type batchFake struct {
	*fake
	mu      sync.Mutex
	batches []string // the prompts of each
	odd     string   // "panics", "forgets"
}

func (f *batchFake) GenerateBatch(jobs []engine.BatchJob) {
	var prompts []string
	for _, j := range jobs {
		prompts = append(prompts, j.Request.Prompt)
	}
	slices.Sort(prompts)
	f.mu.Lock()
	f.batches = append(f.batches, strings.Join(prompts, "+"))
	f.mu.Unlock()
	switch f.odd {
	case "panics":
		panic("in the middle")
	case "forgets":
		return
	}
	for step := range 2 {
		time.Sleep(time.Second)
		left := jobs[:0:0]
		for _, j := range jobs {
			err := j.Context.Err()
			if err == nil {
				err = f.run(f.device, j.Context, j.Request)
			}
			if errors.Is(err, errFault) {
				f.lost.Store(&err)
			}
			if err != nil {
				j.Done(nil, err)
				continue
			}
			if j.Request.Progress != nil {
				j.Request.Progress(sdxl.Progress{Step: step + 1, Steps: 2})
			}
			left = append(left, j)
		}
		if jobs = left; f.Lost() != nil {
			for _, j := range jobs {
				j.Done(nil, errFault)
			}
			return
		}
	}
	for _, j := range jobs {
		j.Request.OnComputed()
		images := []*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, 8, 8))}
		j.Done(&sdxl.Result{Images: images, Parameters: j.Parameters, Warnings: []string{"of " + j.Request.Prompt}}, nil)
	}
}

// batchRig is a pool whose devices compute up to four jobs together.
type batchRig struct {
	*rig
	fakes []*batchFake // by device; the last that was opened
	mu    sync.Mutex
	sizes []int // that Batched was told
}

func newBatchRig(t *testing.T, devices int, run func(ctx context.Context, prompt string) error, change func(*Config)) *batchRig {
	t.Helper()
	r := &batchRig{fakes: make([]*batchFake, devices)}
	r.rig = newRigWith(t, devices, nil, func(c *Config) {
		c.Batch = 4
		c.Batched = func(_ string, jobs int) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.sizes = append(r.sizes, jobs)
		}
		c.Load = func(device int) (engine.Engine, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			f := &batchFake{fake: &fake{device: device, run: func(_ int, ctx context.Context, r sdxl.Request) error { return run(ctx, r.Prompt) }}}
			if old := r.fakes[device]; old != nil {
				f.batches = old.batches
			}
			r.fakes[device] = f
			return f, nil
		}
		if change != nil {
			change(c)
		}
	})
	return r
}

// ask submits a job with a prompt and a batch key.
func (r *batchRig) ask(t *testing.T, prompt, key string, source string) string {
	t.Helper()
	id, err := blob.NewID()
	if err != nil {
		t.Fatal(err)
	}
	task := Task{Job: engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: prompt, ImagesPerPrompt: 1}}, Outputs: []string{id}, Source: source}
	if source != "" {
		task.Job.Request.Image = sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 8}}
	}
	request, err := task.Encode(Shared{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.queue.Submit(job.Job{ID: id, Batch: key, Request: request, Parameters: json.RawMessage(`{"width":8,"height":8}`)}); err != nil {
		t.Fatal(err)
	}
	return id
}

// busy has every device compute a job of its own, so that what is submitted next waits. The prompt is "busy".
func (r *batchRig) busy(t *testing.T) {
	t.Helper()
	for range r.fakes {
		r.ask(t, "busy", "", "")
	}
	synctest.Wait()
}

func sleeps(context.Context, string) error { time.Sleep(time.Millisecond); return nil }

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
