package sdxl

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels/cpu"
)

// stopping is a request whose Stop is closed during an evaluation, before the first one for 0.
func stopping(r Request, at int) Request {
	stop := make(chan struct{})
	if at == 0 {
		close(stop)
	}
	r.Stop = stop
	r.Progress = func(p Progress) {
		if p.Step == at {
			close(stop)
		}
	}
	return r
}

// TestStop ends the run after each of its steps, whichever way they are taken: the result says where, and is bit for bit
// what it is without where that is too late.
func TestStop(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for name, draw := range draws(base, refiner) {
		r := scheduled("dpmpp_2m", 1, 48)
		r.LatentsOnly = false
		whole, err := draw(t.Context(), r)
		if err != nil || whole.Parameters.Interrupted != nil {
			t.Fatalf("%s: %v, %+v", name, err, whole)
		}
		for at := 0; at <= 6; at++ {
			got, err := draw(t.Context(), stopping(r, at))
			steps := max(1, at)
			if err != nil || got.Steps != steps || len(got.Images) != 1 {
				t.Fatalf("%s, step %d: %v, %v", name, at, err, got)
			}
			var want *Interruption
			if at < 6 {
				want = &Interruption{StepsDone: steps, Steps: 6}
			}
			if !reflect.DeepEqual(got.Parameters.Interrupted, want) {
				t.Errorf("%s, step %d: %+v, want %+v", name, at, got.Parameters.Interrupted, want)
			}
			got.Parameters.Interrupted = nil
			got.Parameters.Experts = whole.Parameters.Experts // the hash of one that was not reached is not known
			if !reflect.DeepEqual(got.Parameters, whole.Parameters) {
				t.Errorf("%s, step %d: the parameters are %v, want %v", name, at, got.Parameters, whole.Parameters)
			}
			if same := slices.Equal(got.Images[0].Pix, whole.Images[0].Pix); same != (at == 6) {
				t.Errorf("%s, step %d: the image of all steps: %v", name, at, same)
			}
			idle(t, name, base)
		}
	}
}

// TestStopGivesX0 compares the latents of a stopped run with the x0 that Euler's step from one noise level to the next
// goes by; a run that others took turns with, and one that was parked at its end, have the same.
func TestStopGivesX0(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base := m.open("tiny")
	for images := 1; images <= 2; images++ {
		r := scheduled("euler", 1, 48)
		r.Sigmas, r.Steps, r.ImagesPerPrompt, r.LatentsOnly = []float64{10, 5, 2, 1, 0}, 0, images, false
		var x []*Tensor
		seen := r
		seen.OnStep = func(_ int, latents *Tensor) error {
			x = append(x, latents)
			return nil
		}
		if _, err := base.Generate(t.Context(), seen); err != nil {
			t.Fatal(err)
		}
		got, err := base.Generate(t.Context(), stopping(r, 2))
		if err != nil || *got.Parameters.Interrupted != (Interruption{2, 4}) {
			t.Fatalf("%v, %+v", err, got)
		}
		for i, v := range got.Latents.Data {
			before, after := float64(x[0].Data[i]), float64(x[1].Data[i])
			if want := before - 5*(after-before)/(2-5); math.Abs(float64(v)-want) > 1e-5*max(1, math.Abs(before)) {
				t.Fatalf("x0 has %v at %d, want %v", v, i, want)
			}
		}
		run, err := base.Start(t.Context(), stopping(r, 2))
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		for run.Next() {
			if err := run.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := base.Generate(t.Context(), small()); err != nil { // which parks it
				t.Fatal(err)
			}
		}
		parked, err := run.Finish(t.Context())
		if err != nil || !slices.Equal(parked.Latents.Data, got.Latents.Data) || !slices.Equal(parked.Images[images-1].Pix, got.Images[images-1].Pix) {
			t.Errorf("a parked run gives another image: %v", err)
		}
	}
}

// TestStopOfTwoEvaluations stops Heun between the two evaluations of a step: the step is finished.
func TestStopOfTwoEvaluations(t *testing.T) {
	t.Parallel()
	base := newModels(t).open("tiny")
	got, err := base.Generate(t.Context(), stopping(scheduled("heun", 1, 48), 3))
	if err != nil || got.Steps != 4 || *got.Parameters.Interrupted != (Interruption{2, 6}) {
		t.Errorf("%v, %+v", err, got)
	}
}

// TestInterrupted has the other ways to end a run early say so, too.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for name, draw := range draws(base, refiner) {
		for at := 1; at <= 7; at++ {
			r := scheduled("euler", 1, 48)
			r.Interrupt = at
			got, err := draw(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if p := got.Parameters.Interrupted; (p == nil) != (at >= 6) || p != nil && *p != (Interruption{at, 6}) {
				t.Errorf("%s, interrupt %d: %+v", name, at, p)
			}
			r.Interrupt, r.OnStep = 0, func(step int, _ *Tensor) error {
				if step == at {
					return ErrInterrupt
				}
				return nil
			}
			if got, err = draw(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if p := got.Parameters.Interrupted; (p == nil) != (at >= 6) || p != nil && *p != (Interruption{at, 6}) {
				t.Errorf("%s, ErrInterrupt at %d: %+v", name, at, p)
			}
		}
	}
}

// TestStopInBatch stops one of the requests that are computed together: it has the image that it has alone, and the
// others are computed to their ends.
func TestStopInBatch(t *testing.T) {
	t.Parallel()
	m := countSteps(t, cpu.Options{})
	for _, at := range []int{0, 2, 5, 6} {
		var requests []Request
		for seed := range uint64(3) {
			r := scheduled("dpmpp_2m", seed, 48)
			r.LatentsOnly = false
			requests = append(requests, stopping(r, -1))
		}
		requests[1] = stopping(requests[1], at)
		var want []*Result
		for i, r := range requests {
			if i == 1 {
				r = stopping(r, at)
			}
			alone, err := m.Generate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, alone)
		}
		before := m.steps
		got := batchOf(t, m.Model, requests, nil)
		if m.steps-before != 6 {
			t.Errorf("stopped at %d: %d steps of the batch, want 6", at, m.steps-before)
		}
		for i, g := range got {
			if g.err != nil || !slices.Equal(g.Images[0].Pix, want[i].Images[0].Pix) || !reflect.DeepEqual(g.Parameters, want[i].Parameters) || g.Steps != want[i].Steps {
				t.Errorf("stopped at %d: request %d is another than alone: %v, %+v", at, i, g.err, g.Parameters.Interrupted)
			}
		}
	}
}
