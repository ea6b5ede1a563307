package sdxl

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn"
)

// TestStepsCancelledWhileRead cancels each step once, after it was computed, while its taps are read. Step is called
// again until it succeeds: every step is taken once, and OnStep has each of them.
func TestStepsCancelledWhileRead(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for _, name := range []string{"dpmpp_2m_sde", "heun"} {
		r := scheduled(name, 1, 48)
		want := latentsAlone(t, m, r)[0]
		cancel := func() {}
		tap := nn.Tap{Path: "conv_*", Read: func(string, *nn.Tensor) { cancel() }}
		for _, onStep := range []bool{false, true} {
			q, seen, progress := r, []int{}, 0
			q.Taps.UNet = []nn.Tap{tap}
			if onStep {
				q.OnStep = func(step int, _ *Tensor) error { seen = append(seen, step); return nil }
			}
			q.Progress = func(Progress) { progress++ }
			run, cancelled := started(t, m, q), 0
			for run.Next() {
				ctx, stop := context.WithCancel(t.Context())
				cancel = stop
				if err := run.Step(ctx); err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Fatal(err)
					}
					cancelled++
					if err := run.Step(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				stop()
			}
			finished(t, name, run, want)
			n := len(run.Schedule().Steps)
			if cancelled != n || progress != n {
				t.Errorf("%s: %d of %d steps were cancelled, Progress had %d", name, cancelled, n, progress)
			}
			if onStep && (len(seen) != n || !slices.IsSorted(seen) || seen[n-1] != n) {
				t.Errorf("%s: OnStep had %v of %d steps", name, seen, n)
			}
		}
	}
}

// failingCopies is a device whose copies between programs fail.
type failingCopies struct {
	kernels.Device
	fail *bool
}

func (d failingCopies) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	program, err := d.Device.Compile(p, w, o)
	return failingCopy{program, d.fail}, err
}

type failingCopy struct {
	kernels.Program
	fail *bool
}

func (p failingCopy) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	if *p.fail {
		return errors.New("no copy")
	}
	return p.Program.CopyFrom(v, from.(failingCopy).Program, src)
}

// TestStepWhoseCopyFails has guidance end within a run, and the latents not reach the other program at first. Meanwhile
// memory is short, so that all programs but the last used one are closed.
func TestStepWhoseCopyFails(t *testing.T) {
	t.Parallel()
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	fail := false
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(failingCopies{dev, &fail})})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r := pairs()["guidance that changes"][0]
	want := latentsAlone(t, m, r)[0]
	run, failed := started(t, m, r), 0
	for run.Next() {
		fail = true
		if err := run.Step(t.Context()); err != nil {
			failed++
			fail = false
			if err := m.UNet.Trim(); err != nil {
				t.Fatal(err)
			}
			steps(t, run, 1)
		}
	}
	fail = false
	finished(t, "a copy that failed", run, want)
	if failed != 2 {
		t.Errorf("%d steps failed, want 2", failed)
	}
}

// TestTapsOfVAE asks for a module of the VAE that there is not: that is an error before the first step.
func TestTapsOfVAE(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	read := func(path string) []nn.Tap { return []nn.Tap{{Path: path, Read: func(string, *nn.Tensor) {}}} }
	for path, fits := range map[string]bool{"nonsense": false, "encoder.**": true, "decoder.**": true} {
		stepped := false
		r := small()
		r.Taps.VAE = read(path)
		r.Progress = func(Progress) { stepped = true }
		_, err := m.Generate(t.Context(), r)
		if (err == nil) != fits || stepped != fits {
			t.Errorf("%s: error %v, after a step %v", path, err, stepped)
		}
	}
}
