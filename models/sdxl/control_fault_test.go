package sdxl

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
)

var errFault = errors.New("the device fails")

// faulty is a device of which one write to a program fails, after so many others; none if left is negative. Closing weights
// fails where closes is set. It counts the programs that it compiles.
type faulty struct {
	kernels.Device
	left, compiled int
	closes         bool
}

type faultyProgram struct {
	kernels.Program
	device *faulty
}

type faultyWeights struct {
	kernels.Weights
	device *faulty
}

func (d *faulty) NewWeights(src kernels.Source) (kernels.Weights, error) {
	w, err := d.Device.NewWeights(src)
	return &faultyWeights{w, d}, err
}

func (w *faultyWeights) Close() error {
	if err := w.Weights.Close(); err != nil || !w.device.closes {
		return err
	}
	return errFault
}

func (d *faulty) Compile(plan *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	if of, ok := w.(*faultyWeights); ok {
		w = of.Weights
	}
	d.compiled++
	p, err := d.Device.Compile(plan, w, o)
	return &faultyProgram{p, d}, err
}

func (p *faultyProgram) Write(v kernels.Value, data []byte) error {
	d := p.device
	if d.left--; d.left == -1 {
		return errFault
	}
	return p.Program.Write(v, data)
}

func (p *faultyProgram) CopyFrom(v kernels.Value, from kernels.Program, src kernels.Value) error {
	return p.Program.CopyFrom(v, from.(*faultyProgram).Program, src)
}

func openFaulty(t *testing.T) (*faulty, *Model) {
	t.Helper()
	plain, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	d := &faulty{Device: plain, left: -1}
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(d)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(m.Close(), plain.Close()); err != nil {
			t.Error(err)
		}
	})
	return d, m
}

// TestControlFaults: where the device fails while it is given what a ControlNet reads, runs that share the program go on
// with their own, and so does the one that it failed for.
func TestControlFaults(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	d, m := openFaulty(t)
	first, second := controlled(g, "full"), controlled(g, "full")
	first.Steps, second.Steps = 2, 2
	second.Controls[0].Image, second.Prompt = g.picture("b"), "another"
	want := []*Result{generate(t, m, first), generate(t, m, second)}
	for writes := 0; ; writes++ {
		var runs []*Run
		for _, r := range []Request{first, second} {
			run, err := m.Start(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			runs = append(runs, run)
		}
		if err := runs[0].Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.left = writes
		failed := runs[1].Step(t.Context())
		d.left = -1
		if failed == nil {
			if writes < 20 {
				t.Errorf("only %d writes failed", writes)
			}
			break
		}
		if !errors.Is(failed, errFault) {
			t.Fatal(failed)
		}
		for i, run := range runs {
			for run.Next() {
				if err := run.Step(t.Context()); err != nil {
					t.Fatalf("run %d, after write %d failed: %v", i, writes, err)
				}
			}
			got, err := run.Finish(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Latents.Data, want[i].Latents.Data) {
				t.Errorf("run %d differs where write %d of the second one failed", i, writes)
			}
		}
	}
}

// TestControlFaultsLeaveNothing: a network that can't be had for the fault of another one has no user, and what is not
// a file's fault does not say so.
func TestControlFaultsLeaveNothing(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	d, m := openFaulty(t)
	for _, name := range []string{"full", "other", "mid", "small", "pool"} {
		generate(t, m, controlled(g, name))
	}
	d.closes = true
	_, err := m.Generate(t.Context(), controlled(g, "bgr"))
	d.closes = false
	if !errors.Is(err, errFault) {
		t.Fatalf("error %v", err)
	}
	for e := m.sides.all.Front(); e != nil; e = e.Next() {
		if n := e.Value.(*sideNetwork); n.uses != 0 {
			t.Errorf("%s has %d users", n.key, n.uses)
		}
	}
	generate(t, m, controlled(g, "bgr"))

	var bad *RequestError
	if err := badFile(controlsField, "x", "a ControlNet", &kernels.MemoryError{Needed: 2, Allowed: 1}); errors.As(err, &bad) || !errors.Is(err, kernels.ErrMemory) {
		t.Errorf("want of memory is %v", err)
	}
	if err := badFile(controlsField, "x", "a ControlNet", context.Canceled); errors.As(err, &bad) || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended is %v", err)
	}
}
