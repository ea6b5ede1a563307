package worker

import (
	"context"
	"encoding/json"
	"errors"
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
	sizes []int // that Batched was called with
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
	task := Task{Job: engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: prompt, ImagesPerPrompt: 1}}, Outputs: []string{id}}
	if source != "" {
		task.Job.Request.Image, task.Images = sdxl.Blank{Size: sdxl.Size{Height: 8, Width: 8}}, map[string]string{"image": source}
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
