package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// GenerateBatch does what each prompt says; one that is "last" when all others are done. The results tell how many there
// are.
func (f *fake) GenerateBatch(jobs []engine.BatchJob) {
	var others, all sync.WaitGroup
	for _, j := range jobs {
		do := func() {
			result, err := f.Generate(j.Context, j.Job)
			if result != nil {
				result.Warnings = append(result.Warnings, fmt.Sprint("one of ", len(jobs)))
			}
			j.Done(result, err)
		}
		if j.Request.Prompt == "last" {
			all.Go(func() { others.Wait(); do() })
		} else {
			others.Go(do)
		}
	}
	others.Wait()
	all.Wait()
}

// ending is what a job of a batch ended with.
type ending struct {
	result *sdxl.Result
	err    error
	times  int
}

// askTogether computes prompts together; change may change a job.
func askTogether(t *testing.T, e *Engine, prompts []string, change func(i int, j *engine.BatchJob)) []ending {
	t.Helper()
	endings := make([]ending, len(prompts))
	var jobs []engine.BatchJob
	var mu sync.Mutex
	for i, prompt := range prompts {
		j := engine.BatchJob{Job: ask(prompt), Context: t.Context(), Done: func(r *sdxl.Result, err error) {
			mu.Lock()
			defer mu.Unlock()
			endings[i] = ending{r, err, endings[i].times + 1}
		}}
		if change != nil {
			change(i, &j)
		}
		jobs = append(jobs, j)
	}
	e.GenerateBatch(jobs)
	for i, end := range endings {
		if end.times != 1 {
			t.Errorf("%s is done %d times, want 1", prompts[i], end.times)
		}
	}
	return endings
}

// Each job of a batch has its own data, callbacks, errors and end.
func TestTogether(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	ended, end := context.WithCancel(t.Context())
	end()
	cancelled, cancel := context.WithCancel(t.Context())
	defer cancel()
	source := image.NewNRGBA(image.Rect(0, 0, 5, 4))
	for i := range source.Pix {
		source.Pix[i] = 255 - byte(i%7)
	}
	var steps, previews, computed []int
	got := askTogether(t, e, []string{"a", "image", "steps", "wait", "large", "field", "ended", "computed", "local", "last"}, func(i int, j *engine.BatchJob) {
		switch j.Request.Prompt {
		case "image":
			j.Request.Image, j.Request.Latents = source, &sdxl.Tensor{Shape: []int{2}, Data: []float32{1, 2}}
		case "steps":
			j.Request.Steps = 4
			j.Request.Progress = func(p sdxl.Progress) {
				if steps = append(steps, p.Step); p.Step == 4 {
					cancel()
				}
			}
			j.Request.Preview = &sdxl.Preview{Every: 2, Func: func(step int, images []*image.NRGBA) { previews = append(previews, step, len(images)) }}
		case "wait":
			j.Context = cancelled
		case "ended":
			j.Context = ended
		case "computed":
			j.Request.OnComputed = func() { computed = append(computed, i) }
		case "local":
			j.Request.OnStep = func(int, *sdxl.Tensor) error { return nil }
		}
	})
	for _, i := range []int{0, 1, 2, 7, 9} {
		if got[i].err != nil {
			t.Fatalf("job %d: %v", i, got[i].err)
		}
		if w := got[i].result.Warnings; len(w) != 2 || w[1] != "one of 8" {
			t.Errorf("job %d: %q", i, w)
		}
	}
	if r := got[1].result; !bytes.Equal(r.Images[0].Pix, source.Pix) || r.Latents.Data[1] != 2 || len(got[0].result.Images) != 0 {
		t.Errorf("%+v", r)
	}
	if fmt.Sprint(steps, previews, computed) != "[1 2 3 4] [2 2 4 2] [7]" {
		t.Errorf("steps %v, previews %v, computed %v", steps, previews, computed)
	}
	var bad *sdxl.RequestError
	if !errors.Is(got[3].err, context.Canceled) || !errors.Is(got[4].err, kernels.ErrMemory) || !errors.As(got[5].err, &bad) || !errors.Is(got[6].err, context.Canceled) {
		t.Errorf("%v; %v; %v; %v", got[3].err, got[4].err, got[5].err, got[6].err)
	}
	if got[8].err == nil || !strings.Contains(got[8].err.Error(), "OnStep") {
		t.Errorf("a callback that can't be called: %v", got[8].err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.pending) != 0 || e.lost != nil {
		t.Errorf("%d calls wait for ever, lost: %v", len(e.pending), e.lost)
	}
}

// When the program ends, every job of a batch hears why.
func TestTogetherLost(t *testing.T) {
	for prompt, says := range map[string]string{"die": "exit status 7", "fault": "faulted", "stuck": "did not stop in 50ms"} {
		e, _ := launch(t, "")
		e.grace = 50 * time.Millisecond
		ctx, cancel := context.WithCancel(t.Context())
		if prompt == "stuck" {
			time.AfterFunc(10*time.Millisecond, cancel)
		}
		got := askTogether(t, e, []string{prompt, "last"}, func(i int, j *engine.BatchJob) {
			if i == 0 {
				j.Context = ctx
			}
		})
		cancel()
		if err := got[0].err; err == nil || prompt != "stuck" && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", prompt, err, says)
		}
		if prompt != "fault" && (got[1].err == nil || !strings.Contains(got[1].err.Error(), says)) {
			t.Errorf("beside %s: %v, want %s", prompt, got[1].err, says)
		}
		if e.Lost() == nil {
			t.Errorf("%s: not lost", prompt)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		askTogether(t, e, []string{"a", "b"}, nil)
	}
}

// A job that has no step while others of its batch are computed is not overdue, and all are when none has one.
func TestTogetherPatience(t *testing.T) {
	e, stderr := launchWith(t, "0", Config{StallTimeout: 700 * time.Millisecond, first: time.Millisecond, SilenceTimeout: beats * 20 * time.Millisecond})
	slow := func(_ int, j *engine.BatchJob) { j.Request.Steps = 8 }
	for _, end := range askTogether(t, e, []string{"slow", "last"}, slow) {
		if end.err != nil {
			t.Error(end.err)
		}
	}
	stop(t, e, stderr)
	e, _ = launchWith(t, "0", Config{StallTimeout: 300 * time.Millisecond, first: time.Millisecond, SilenceTimeout: beats * 20 * time.Millisecond})
	for _, end := range askTogether(t, e, []string{"stuck", "last"}, nil) {
		if end.err == nil || !strings.Contains(end.err.Error(), "made no step") {
			t.Errorf("a batch that hangs: %v", end.err)
		}
	}
	_ = e.Close()
}
