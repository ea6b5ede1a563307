package cpu

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/engine"
)

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Variant: "sse9"}, `variant "sse9": this machine and build have ` + strings.Join(variantNames(), ", ")},
		{Options{Threads: -1}, "threads -1: must be 0 (all) to"},
	} {
		if _, err := New(c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%+v): %v, want %q", c.o, err, c.want)
		}
	}
	d := newTestDevice(t, Options{Threads: 2})
	info := d.Info()
	if info.Name != "cpu" || info.Variant != info.Variants[0] || !slices.Contains(info.Variants, "portable") || info.PeakFLOPS != 0 {
		t.Errorf("info %+v", info)
	}
	if _, err := d.Compile(&kernels.Plan{}, nil, kernels.Options{Precision: kernels.F16}); err == nil || !strings.Contains(err.Error(), "precision fp16: this device computes in fp32") {
		t.Errorf("fp16: %v", err)
	}
	peak, err := d.PeakFLOPS(t.Context())
	if err != nil || peak <= 0 || d.Info().PeakFLOPS != peak {
		t.Errorf("peak %g, %v; info says %g", peak, err, d.Info().PeakFLOPS)
	}
}

func TestProgramsShareTheArena(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 2})
	small, large := newStep(t, 100), newStep(t, 30000)
	p := small.compile(t, d)
	write(t, p, small.text, filled(100, 1))
	write(t, p, small.noise, filled(100, 0.5))
	run(t, p)
	want := read(t, p, small.result, 100)
	few := len(d.arena.memory)

	q, err := d.Compile(&large.plan, nil, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.CopyFrom(large.text, p, small.result); err == nil {
		t.Error("copied 100 elements into 30000")
	}
	for range 2 {
		run(t, q)
		if got := read(t, q, large.result, 30000); slices.ContainsFunc(got, func(x float32) bool { return x != 0 }) {
			t.Error("the gelu of nothing is not zero")
		}
		if len(d.arena.memory) <= few {
			t.Error("the arena did not grow")
		}
		run(t, p)
		if got := read(t, p, small.result, 100); !slices.Equal(got, want) {
			t.Error("the result changed when the arena moved")
		}
	}
	// Programs run from goroutines of their own.
	var group sync.WaitGroup
	for _, prog := range []kernels.Program{p, q} {
		group.Go(func() {
			for range 50 {
				if err := prog.Run(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := d.Close(); err == nil || !strings.Contains(err.Error(), "2 programs") {
		t.Errorf("closing with programs open: %v", err)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	run(t, p)
	if got := len(d.arena.memory); got != few {
		t.Errorf("the arena has %d floats after the large program closed, want %d", got, few)
	}
	if got := read(t, p, small.result, 100); !slices.Equal(got, want) {
		t.Error("the result changed when the arena shrank")
	}
	if err := q.Run(t.Context()); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("running a closed program: %v", err)
	}

	other := newStep(t, 100)
	r := other.compile(t, d)
	if err := r.CopyFrom(other.latents, p, small.result); err != nil {
		t.Fatal(err)
	}
	if got := read(t, r, other.latents, 100); !slices.Equal(got, want) {
		t.Error("CopyFrom copied something else")
	}
	foreign := newStep(t, 100)
	if err := foreign.compile(t, newTestDevice(t, Options{Threads: 1})).CopyFrom(foreign.latents, p, small.result); err == nil || !strings.Contains(err.Error(), "another device") {
		t.Errorf("copying between devices: %v", err)
	}
}
