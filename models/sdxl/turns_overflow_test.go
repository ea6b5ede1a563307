package sdxl

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn"
)

// TestTurnsThatOverflow is TestTurns on a device that looks for NaN by itself and spoils steps in fp16: each run is
// computed again in bf16 from its first step on, wherever that is found.
func TestTurnsThatOverflow(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, spoils := range [][]kernels.DType{nil, {kernels.F16}} {
		d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, spoils: spoils, after: 2}
		m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"history of two lengths", "SDE noise", "guidance that changes", "a batch of seeds"} {
			pair := pairs()[name]
			want := latentsAlone(t, m, pair[0], pair[1])
			for _, turn := range [][2]int{{1, 1}, {3, 4}, {5, 9}} {
				a, b := started(t, m, pair[0]), started(t, m, pair[1])
				for a.Next() || b.Next() {
					steps(t, a, turn[0])
					steps(t, b, turn[1])
					if x, err := b.Latents(t.Context()); err != nil {
						t.Fatal(err)
					} else if _, err := a.Predict(t.Context(), nn.NewTensor(a.latentShape()...), 500, 1); err != nil || len(x.Data) == 0 {
						t.Fatal(err)
					}
				}
				what := fmt.Sprint(name, " ", spoils, turn)
				finished(t, what+" first", a, want[0])
				finished(t, what+" second", b, want[1])
				for _, run := range []*Run{a, b} {
					result, err := run.Finish(t.Context())
					if precision := "fp16"; err != nil || spoils == nil && result.Parameters.Precision != precision {
						t.Errorf("%s: %v, %s", what, err, result.Parameters.Precision)
					} else if precision = "bf16"; spoils != nil && turn[0] > 1 && result.Parameters.Precision != precision {
						t.Errorf("%s: nothing overflowed", what)
					}
				}
				a.Close()
				b.Close()
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestTurnsOfGoroutines has each run stepped by a goroutine of its own, on the device of TestTurnsThatOverflow: OnStep
// is called once a step, in order, whichever goroutine finds that a run is to be computed again.
func TestTurnsOfGoroutines(t *testing.T) {
	t.Parallel()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, spoils: []kernels.DType{kernels.F16}, after: 1}
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	requests := []Request{scheduled("dpmpp_2m_sde", 1, 48), scheduled("unipc", 2, 48), scheduled("euler_a", 3, 64), scheduled("lms", 4, 48)}
	want := latentsAlone(t, m, requests...)
	var wg sync.WaitGroup
	for i, r := range requests {
		wg.Go(func() {
			seen := 0
			if i%2 == 0 {
				r.OnStep = func(step int, x *Tensor) error {
					if seen++; step != seen {
						t.Errorf("run %d: step %d, want %d", i, step, seen)
					}
					_, err := m.Decode(t.Context(), x)
					return err
				}
			}
			if i < 2 {
				result, err := m.Generate(t.Context(), r)
				if err != nil || !slices.Equal(result.Latents.Data, want[i].Data) {
					t.Errorf("run %d: %v, or other latents than alone", i, err)
				}
				return
			}
			run, err := m.Start(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer run.Close()
			n := 0
			for ; run.Next(); n++ {
				if err := run.Step(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
			x, err := run.Latents(t.Context())
			if err != nil || n != 6 || !slices.Equal(x.Data, want[i].Data) {
				t.Errorf("run %d: %v, %d steps, or other latents than alone", i, err, n)
			}
		})
	}
	wg.Wait()
}

// TestCancelledStep cancels steps at many places, alone and in turns, and takes them again: noise and latents are as if
// nothing had happened, on a device that spoils steps too.
func TestCancelledStep(t *testing.T) {
	t.Parallel()
	nodes, cancelAt := 0, -1
	var cancel context.CancelFunc
	plain, err := cpu.New(cpu.Options{Threads: 1, Trace: func(cpu.Timing) {
		if nodes++; nodes == cancelAt {
			cancel()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, spoils := range [][]kernels.DType{nil, {kernels.F16}} {
		d := &narrow{Device: plain, precisions: []kernels.DType{kernels.F16, kernels.BF16}, spoils: spoils, after: 1}
		m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		r := scheduled("dpmpp_2m_sde", 1, 48)
		r.GuidancePerStep = []float64{5, 5, 1, 1, 5}
		other := scheduled("unipc", 2, 48)
		given := nn.NewTensor(1, 4, 5, 6)
		for i := range given.Data {
			given.Data[i] = float32(math.Sin(float64(i)))
		}
		draw := func(step func(*Run)) []float32 {
			run, second := started(t, m, r), started(t, m, other)
			for run.Next() {
				if run.next == 4 {
					if err := run.SetLatents(t.Context(), given); err != nil {
						t.Fatal(err)
					}
				}
				step(run)
				if run.next == 5 { // the first four overflow in one go
					steps(t, second, 1)
				}
			}
			x, err := run.Latents(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			run.Close()
			second.Close()
			return x.Data
		}
		want := draw(func(run *Run) { steps(t, run, 1) })
		cancelled := 0
		got := draw(func(run *Run) {
			for at := 1; ; at += 61 {
				var ctx context.Context
				ctx, cancel = context.WithCancel(t.Context())
				nodes, cancelAt = 0, at
				err := run.Step(ctx)
				cancel()
				cancelAt = -1
				if err == nil {
					return
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
				cancelled++
			}
		})
		if !slices.Equal(got, want) {
			t.Errorf("spoils %v: other latents after %d cancelled steps", spoils, cancelled)
		}
		if cancelled < 12 {
			t.Errorf("spoils %v: only %d steps were cancelled", spoils, cancelled)
		}
	}
}
