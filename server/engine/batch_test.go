package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// together is a part that computes several jobs at once.
type together struct{ part }

func (p *together) GenerateBatch(jobs []BatchJob) {
	for _, j := range jobs {
		j.Request.Progress(sdxl.Progress{Step: 1, Steps: len(jobs)})
		j.Done(&sdxl.Result{Warnings: []string{fmt.Sprintf("%s of %d with %q", p.name, len(jobs), j.Name)}}, nil)
	}
}

// Jobs that are computed together have their model opened once, hear of that, and are one after the other where the
// model's engine computes one alone.
func TestSeveralBatch(t *testing.T) {
	of := shop{fail: map[string]error{"c": errors.New("broken")}}
	b := Opening{Name: "b", Open: func(_ context.Context, onLoad func(done, total int64)) (Engine, error) {
		onLoad(1, 2)
		return &together{part{name: "b"}}, nil
	}}
	e, err := NewSeveral(t.Context(), SeveralConfig{Models: []Opening{of.opening("a", 1), b, of.opening("c", 1)}})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		want []string
	}{
		{"a", []string{"a", "a", "a"}},
		{"b", []string{`b of 3 with ""`, `b of 3 with ""`, `b of 3 with ""`}},
		{"c", []string{"the model c can't be loaded: broken", "the model c can't be loaded: broken", context.Canceled.Error()}},
		{"d", []string{"model is d: must be one of a, b, c", "model is d: must be one of a, b, c", context.Canceled.Error()}},
	} {
		got, loading, steps := make([]string, 3), make([]int, 3), make([]int, 3)
		var jobs []BatchJob
		for i := range 3 {
			j := BatchJob{Context: t.Context(), Job: Job{Name: c.name, OnLoading: func(float64) { loading[i]++ }}}
			if i == 2 && (c.name == "c" || c.name == "d") {
				j.Context = ended
			}
			j.Request.Progress = func(sdxl.Progress) { steps[i]++ }
			j.Done = func(r *sdxl.Result, err error) {
				if got[i] != "" {
					t.Errorf("%s: job %d is done twice", c.name, i)
				}
				if got[i] = fmt.Sprint(err); err == nil {
					got[i] = r.Warnings[0]
				}
			}
			jobs = append(jobs, j)
		}
		e.GenerateBatch(jobs)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if c.name == "b" && (!slices.Equal(loading, []int{1, 1, 1}) || !slices.Equal(steps, []int{1, 1, 1})) {
			t.Errorf("%v percents and %v steps", loading, steps)
		}
	}
	for _, m := range e.models {
		if m.jobs != 0 {
			t.Errorf("%s is used by %d jobs for ever", m.Name, m.jobs)
		}
	}
}

// The engine of this process computes the jobs of a base together, and those of an ensemble one after the other.
func TestLocalBatch(t *testing.T) {
	_, base := openTiny(t)
	l, err := NewLocal(t.Context(), base, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for model, want := range map[Model]string{Base: "1 2 1 2 ", Ensemble: ""} { // steps of one after the other's
		var heard string
		failed := 0
		var jobs []BatchJob
		for i := range 2 {
			j := BatchJob{Context: t.Context(), Job: Job{Model: model}, Done: func(_ *sdxl.Result, err error) {
				if err != nil {
					failed++
				}
			}}
			j.Request = sdxl.Request{Prompt: fmt.Sprint(i), Width: 48, Height: 48, Steps: 2, Progress: func(sdxl.Progress) { heard += fmt.Sprint(i+1, " ") }}
			jobs = append(jobs, j)
		}
		l.GenerateBatch(jobs)
		if heard != want || failed != map[Model]int{Ensemble: 2}[model] {
			t.Errorf("%s: %q, %d failed, want %q", model, heard, failed, want)
		}
	}
}
