package sdxl

import (
	"context"
	"errors"
	"fmt"
	"image"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goxl/goxl/nn"
)

// draws are the ways to have a request's steps taken.
func draws(base, refiner *Model) map[string]func(context.Context, Request) (*Result, error) {
	return map[string]func(context.Context, Request) (*Result, error){
		"Generate": base.Generate,
		"Run": func(ctx context.Context, r Request) (*Result, error) {
			run, err := base.Start(ctx, r)
			if err != nil {
				return nil, err
			}
			defer run.Close()
			for run.Next() {
				if err := run.Step(ctx); err != nil {
					return nil, err
				}
			}
			return run.Finish(ctx)
		},
		"Ensemble": func(ctx context.Context, r Request) (*Result, error) {
			return Ensemble(ctx, r, Expert{base, 0.3}, Expert{base, share}, Expert{Model: refiner})
		},
	}
}

// idle checks that nobody has the right to compute, and that every run was closed.
func idle(t *testing.T, what string, m *Model) {
	t.Helper()
	slot := m.host.tryAcquire()
	if slot == nil {
		t.Fatalf("%s: somebody kept the right to compute", what)
	}
	defer slot.release()
	for _, run := range m.host.live {
		if !run.closed.Load() {
			t.Errorf("%s: a run is live still", what)
		}
	}
}

// TestOnStepCallsTheModel decodes, encodes, predicts and even generates in OnStep, whichever way the steps are taken.
func TestOnStepCallsTheModel(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := scheduled("dpmpp_2m_sde", 1, 48)
	other := with(func(r *Request) { r.Width = 64 })
	for name, draw := range draws(base, refiner) {
		want, err := draw(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		r := r
		r.LatentsOnly = false
		var seen []int
		var last []float32
		r.OnStep = func(step int, x *Tensor) error {
			seen, last = append(seen, step), slices.Clone(x.Data)
			if images, err := base.Decode(t.Context(), x); err != nil || len(images) != 1 {
				t.Error(err)
			}
			if _, _, err := base.EncodePrompt(t.Context(), 1, Prompt{Prompt: "a bridge"}); err != nil {
				t.Error(err)
			}
			if _, err := base.EncodeImage(t.Context(), gradient(48, 40), nil); err != nil {
				t.Error(err)
			}
			if step%2 == 1 {
				if _, err := base.Generate(t.Context(), other); err != nil {
					t.Error(err)
				}
			}
			clear(x.Data) // it is the caller's own
			return nil
		}
		got, err := draw(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !slices.Equal(got.Latents.Data, want.Latents.Data) || len(got.Images) != 1 {
			t.Errorf("%s: other latents than without OnStep", name)
		}
		if !slices.Equal(seen, []int{1, 2, 3, 4, 5, 6}) || !slices.Equal(last, want.Latents.Data) {
			t.Errorf("%s: steps %v, or not the last one's latents", name, seen)
		}
		idle(t, name, base)
	}
}

// TestOnStepEnds has OnStep end the run after each of its steps: by an error, which comes back, and by ErrInterrupt, which gives the
// images of the steps so far, as Interrupt does.
func TestOnStepEnds(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	mine := errors.New("enough")
	for name, draw := range draws(base, refiner) {
		for at := 1; at <= 6; at++ {
			r := scheduled("dpmpp_2m", 1, 48)
			calls := 0
			ending := func(err error) func(int, *Tensor) error {
				calls = 0
				return func(step int, _ *Tensor) error {
					if calls++; step == at {
						return err
					}
					return nil
				}
			}
			r.OnStep = ending(fmt.Errorf("mine: %w", mine))
			if _, err := draw(t.Context(), r); err == nil || err.Error() != "mine: enough" || !errors.Is(err, mine) || calls != at {
				t.Errorf("%s, step %d: error %v after %d calls", name, at, err, calls)
			}
			idle(t, name, base)
			r.LatentsOnly = false
			r.OnStep = ending(fmt.Errorf("mine: %w", ErrInterrupt))
			got, err := draw(t.Context(), r)
			if err != nil || calls != at || got.Steps != at || len(got.Images) != 1 {
				t.Fatalf("%s, step %d: %v after %d calls, %v", name, at, err, calls, got)
			}
			r.OnStep, r.Interrupt = nil, at
			want, err := draw(t.Context(), r)
			if err != nil || want.Steps != at || want.Parameters.Interrupt != at {
				t.Fatalf("%s, Interrupt %d: %v, %v", name, at, err, want)
			}
			if !slices.Equal(got.Latents.Data, want.Latents.Data) || !slices.Equal(got.Images[0].Pix, want.Images[0].Pix) {
				t.Errorf("%s, step %d: ErrInterrupt gives another image than Interrupt", name, at)
			}
			idle(t, name, base)
		}
	}
}

// TestOnStepCancels ends the context in OnStep: the error is the context's, and the right to compute is given back.
func TestOnStepCancels(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for name, draw := range draws(base, refiner) {
		ctx, cancel := context.WithCancel(t.Context())
		r := scheduled("euler", 1, 48)
		r.OnStep = func(step int, _ *Tensor) error {
			if step == 2 {
				cancel()
			} else if step > 2 {
				t.Errorf("%s went on to step %d", name, step)
			}
			return nil
		}
		if _, err := draw(ctx, r); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		idle(t, name, base)
	}
}

// TestCallbacksPanic lets a panic of any callback through, and leaves the host usable.
func TestCallbacksPanic(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	callbacks := map[string]func(*Request){
		"OnStep":   func(r *Request) { r.OnStep = func(int, *Tensor) error { panic("mine") } },
		"Progress": func(r *Request) { r.Progress = func(Progress) { panic("mine") } },
		"Preview":  func(r *Request) { r.Preview = &Preview{Func: func(int, []*image.NRGBA) { panic("mine") }} },
		"a tap": func(r *Request) {
			r.Taps.UNet = []nn.Tap{{Path: "conv_in", Read: func(string, *Tensor) { panic("mine") }}}
		},
	}
	for name, draw := range draws(base, refiner) {
		for callback, set := range callbacks {
			what := callback + " of " + name
			r := scheduled("euler", 1, 48)
			set(&r)
			done := make(chan any, 1)
			go func() {
				defer func() { done <- recover() }()
				_, err := draw(t.Context(), r)
				t.Errorf("%s: %v", what, err)
			}()
			select {
			case got := <-done:
				if got != "mine" {
					t.Errorf("%s: %v", what, got)
				}
			case <-time.After(time.Minute):
				t.Fatalf("%s hangs", what)
			}
			idle(t, what, base)
			if _, err := draw(t.Context(), scheduled("euler", 1, 48)); err != nil {
				t.Errorf("after %s: %v", what, err)
			}
		}
	}
}

// TestCancelWhileWaiting cancels every call that waits for the right to compute while another has it.
func TestCancelWhileWaiting(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := scheduled("euler", 1, 48)
	run := started(t, base, r)
	steps(t, run, 2)
	x, err := run.Latents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func(context.Context) error{
		"Step":         run.Step,
		"Latents":      func(ctx context.Context) error { _, err := run.Latents(ctx); return err },
		"SetLatents":   func(ctx context.Context) error { return run.SetLatents(ctx, x) },
		"Predict":      func(ctx context.Context) error { _, err := run.Predict(ctx, x, 500, 1); return err },
		"Finish":       func(ctx context.Context) error { _, err := run.Finish(ctx); return err },
		"Start":        func(ctx context.Context) error { _, err := base.Start(ctx, r); return err },
		"Decode":       func(ctx context.Context) error { _, err := base.Decode(ctx, x); return err },
		"EncodePrompt": func(ctx context.Context) error { _, _, err := base.EncodePrompt(ctx, 0, Prompt{}); return err },
		"EncodeImage":  func(ctx context.Context) error { _, err := base.EncodeImage(ctx, gradient(48, 40), nil); return err },
	}
	for name, draw := range draws(base, refiner) {
		calls[name] = func(ctx context.Context) error { _, err := draw(ctx, r); return err }
	}
	slot, err := base.host.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for name, call := range calls {
		go func() {
			err := call(ctx)
			if !errors.Is(err, context.Canceled) {
				err = fmt.Errorf("%s: %v", name, err)
			} else {
				err = nil
			}
			ended <- err
		}()
	}
	time.Sleep(20 * time.Millisecond) // most of them wait by then
	cancel()
	for range calls {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	slot.release()
	steps(t, run, 9)
	finished(t, "after cancelled calls", run, latentsAlone(t, base, r)[0])
}

// TestNoGoroutineIsLeft runs, cancels and closes, and looks for goroutines in this package afterwards.
func TestNoGoroutineIsLeft(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for _, draw := range draws(base, refiner) {
		ctx, cancel := context.WithCancel(t.Context())
		r := scheduled("euler", 1, 48)
		r.Progress = func(p Progress) {
			if p.Step == 3 {
				cancel()
			}
		}
		if _, err := draw(ctx, r); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		r.Progress = nil
		if _, err := draw(t.Context(), r); err != nil {
			t.Error(err)
		}
		cancel()
	}
	stacks := make([]byte, 1<<20)
	for goroutine := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
		if strings.Contains(goroutine, "models/sdxl.") && !strings.Contains(goroutine, "models/sdxl.Test") {
			t.Errorf("left: %s", goroutine)
		}
	}
}
