package sdxl

import (
	"errors"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

// Prompts whose texts change from step to step, and parts that AND joins, are each request's own.
func TestBatchPrompts(t *testing.T) {
	m := countSteps(t, cpu.Options{Threads: 1})
	for _, prompts := range [][]string{
		{"a [red:blue:0.5] house", "a [cat|dog]", "a house"},
		{"a house AND a tree :0.5", "a [cat|dog] AND a tree :0.5", "a AND b :0.5"},
	} {
		var requests []Request
		for i, prompt := range prompts {
			r := small()
			r.Prompt, r.PromptStyle, r.Seed = prompt, "a1111", new(uint64(i))
			requests = append(requests, r)
		}
		m.steps = 0
		got := batchOf(t, m.Model, requests, nil)
		if m.steps != 4 {
			t.Errorf("%q: %d steps, want 4", prompts, m.steps)
		}
		for i, r := range requests {
			asAlone(t, m.Model, r.Prompt, r, got[i])
		}
	}
}

// A batch for which there is no memory is computed in halves, down to single requests.
func TestBatchMemory(t *testing.T) {
	requests := varied(func(r *Request) { r.Width, r.Height, r.Steps, r.LatentsOnly = 192, 192, 2, true })[:4]
	free := within(t, 0, false)
	if _, err := free.base.Generate(t.Context(), requests[0]); err != nil {
		t.Fatal(err)
	}
	alone := free.memory().Peak
	batchOf(t, free.base, requests, nil)
	all := free.memory().Peak
	if all < alone+2*mebi {
		t.Fatalf("a batch takes %d bytes and one request %d: no difference to test", all, alone)
	}
	free.steps = 0
	want := batchOf(t, free.base, requests, nil)
	if free.steps != 2 {
		t.Errorf("%d steps with memory for all, want 2", free.steps)
	}
	for _, c := range []struct {
		limit int64
		steps int
	}{{alone + (all-alone)/2, 4}, {alone + mebi/4, 8}, {alone / 4, 0}} {
		l := within(t, c.limit, false)
		got := batchOf(t, l.base, requests, nil)
		if l.steps != c.steps {
			t.Errorf("%d steps within %d bytes, want %d", l.steps, c.limit, c.steps)
		}
		for i := range got {
			switch {
			case c.steps == 0:
				if !errors.Is(got[i].err, kernels.ErrMemory) {
					t.Errorf("%v, want one for want of memory", got[i].err)
				}
			case got[i].err != nil:
				t.Errorf("within %d bytes: %v", c.limit, got[i].err)
			case !slices.Equal(got[i].Latents.Data, want[i].Latents.Data):
				t.Errorf("other latents within %d bytes", c.limit)
			}
		}
	}
}

// Where numbers overflow, each request is computed as alone: in bf16 those that overflow, with their warnings of it.
func TestBatchOverflows(t *testing.T) {
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, spoils := range [][]kernels.DType{{kernels.F16}, {kernels.F16, kernels.BF16}} {
		d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, spoils: spoils}
		m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
		if err != nil {
			t.Fatal(err)
		}
		requests := varied(func(r *Request) { r.Scheduler, r.Steps = "dpmpp_2m_sde", 5 })
		for i, got := range batchOf(t, m, requests, nil) {
			if len(spoils) > 1 {
				if !errors.Is(got.err, kernels.ErrNotFinite) {
					t.Errorf("request %d: %v, want that numbers are not finite", i, got.err)
				}
				continue
			}
			asAlone(t, m, "spoiled", requests[i], got)
			if got.Parameters.Precision != "bf16" {
				t.Errorf("request %d was computed in %s", i, got.Parameters.Precision)
			}
		}
		// One that is stopped where it overflows begins anew too, and has an image of a step that was taken.
		enough := make(chan struct{})
		requests = varied(func(r *Request) { r.Steps, r.Stop = 5, make(chan struct{}) })
		got := batchOf(t, m, requests, func(i int, q *BatchRequest) {
			if i == 1 {
				q.Request.Stop = enough
				q.Request.Progress = func(p Progress) {
					if p.Step == 3 {
						close(enough)
					}
				}
			}
		})
		if one := got[1]; len(spoils) == 1 && (one.err != nil || one.Parameters.Interrupted == nil || one.Steps == 0 || slices.Max(one.Latents.Data) == 0) {
			t.Errorf("stopped in a batch that overflows: %v, %+v", one.err, one.Result)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
