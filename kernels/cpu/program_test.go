package cpu

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
)

// step is a plan with every role: text is hoisted (k = silu(text), kept for later runs; a second hoisted node's output
// is used by a hoisted node alone), the state latents advance by k + noise, the result is their gelu.
type step struct {
	planner
	text, noise, latents, result kernels.Value
	n                            int
}

func newStep(t testing.TB, n int) *step {
	s := &step{n: n}
	s.text = s.value(kernels.Request, kernels.F32, "text", 1, n)
	s.noise = s.value(kernels.Step, kernels.F32, "noise", 1, n)
	s.latents = s.value(kernels.State, kernels.F32, "latents", 1, n)
	a := s.node(t, "text.act", kernels.Activate{Act: kernels.SiLU}, kernels.Temp, s.text)
	b := s.node(t, "text.add", kernels.Add{}, kernels.Temp, a[0], s.text)
	c := s.node(t, "cond", kernels.Add{}, kernels.Temp, s.noise, b[0])
	s.result = s.node(t, "out", kernels.Activate{Act: kernels.GELU}, kernels.Result, c[0])[0]
	s.plan.Nodes = append(s.plan.Nodes, kernels.Node{Spec: kernels.Add{}, Path: "advance", In: []kernels.Value{s.latents, c[0]}, Out: []kernels.Value{s.latents}})
	return s
}

func TestHoistingAndStates(t *testing.T) {
	var mu sync.Mutex
	var traced []string
	d := newTestDevice(t, Options{Threads: 2, Trace: func(n Timing) {
		mu.Lock()
		defer mu.Unlock()
		traced = append(traced, n.Node.Path)
	}})
	s := newStep(t, 40)
	p := s.compile(t, d)
	expect := func(nodes ...string) {
		t.Helper()
		if !slices.Equal(traced, nodes) {
			t.Errorf("computed %v, want %v", traced, nodes)
		}
		traced = nil
	}
	all := []string{"text.act", "text.add", "cond", "out", "advance"}
	latents := 5.0
	write(t, p, s.latents, filled(40, 5))
	write(t, p, s.noise, filled(40, 0.5))
	check := func(text, noise float64) {
		t.Helper()
		cond := siluTrue(text) + text + noise
		latents += cond
		for i, x := range read(t, p, s.latents, 40) {
			if math.Abs(float64(x)-latents) > 8*eps32*latents {
				t.Fatalf("latent %d is %g, want %g", i, x, latents)
			}
		}
		for i, x := range read(t, p, s.result, 40) {
			if math.Abs(float64(x)-trueGELU(cond)) > 8*eps32 {
				t.Fatalf("result %d is %g, want %g", i, x, trueGELU(cond))
			}
		}
	}
	write(t, p, s.text, filled(40, 1))
	run(t, p)
	expect(all...)
	check(1, 0.5)
	run(t, p)
	expect(all[2:]...)
	check(1, 0.5)
	write(t, p, s.noise, filled(40, 0.25))
	run(t, p)
	expect(all[2:]...)
	check(1, 0.25)
	write(t, p, s.text, filled(40, -1))
	run(t, p)
	expect(all...)
	check(-1, 0.25)

	// Finite computes the run again and changes nothing, whatever was written since.
	write(t, p, s.text, filled(40, float32(math.Inf(1))))
	if err := p.Finite(t.Context()); err != nil {
		t.Error(err)
	}
	traced = nil
	if got := read(t, p, s.latents, 1*40); math.Abs(float64(got[0])-latents) > 8*eps32*latents {
		t.Errorf("latents %g after Finite, want %g", got[0], latents)
	}
	write(t, p, s.text, filled(40, 1))
	run(t, p)
	expect(all...)
	check(1, 0.25)
	noise := filled(40, 0.25)
	noise[7] = float32(math.NaN())
	write(t, p, s.noise, noise)
	run(t, p)
	write(t, p, s.noise, filled(40, 0))
	if err := p.Finite(t.Context()); err == nil || !strings.Contains(err.Error(), "cond (kernels.Add): element 7 of the output is NaN") {
		t.Errorf("Finite says %v", err)
	}
	if got := read(t, p, s.latents, 40)[7]; got == got {
		t.Error("Finite changed a state")
	}
}

func TestRunAllocatesNothing(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 2})
	var s planner
	x := s.value(kernels.Step, kernels.F32, "x", 1, 24, 24, 64)
	weight, bias := s.weight("norm.weight", filled(64, 1), kernels.F16, 64), s.weight("norm.bias", filled(64, 0), kernels.F16, 64)
	y := s.node(t, "norm", kernels.GroupNorm{Groups: 8, Eps: 1e-5, Act: kernels.SiLU}, kernels.Temp, x, weight, bias)
	y = s.node(t, "conv", kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}}, kernels.Temp, y[0], s.weight("conv.weight", make([]float32, 64*64*9), kernels.F16, 64, 64, 3, 3))
	y = s.node(t, "layernorm", kernels.LayerNorm{Eps: 1e-5}, kernels.Temp, y[0], weight, bias)
	y = s.node(t, "ff", kernels.Linear{Act: kernels.GEGLU}, kernels.Temp, y[0], s.weight("ff.weight", make([]float32, 128*64), kernels.F16, 128, 64))
	y = s.node(t, "up", kernels.Resize{H: 48, W: 48}, kernels.Temp, y[0])
	s.node(t, "add", kernels.Add{}, kernels.Result, y[0], y[0])
	q := s.value(kernels.Step, kernels.F32, "q", 1, 100, 64)
	s.node(t, "attention", kernels.Attention{Heads: 2}, kernels.Result, q, q, q)
	m := s.value(kernels.Step, kernels.F32, "m", 2, 64)
	scale := s.value(kernels.Step, kernels.F32, "scale", 1)
	s.node(t, "guidance", kernels.Guidance{Rescale: true}, kernels.Result, m, scale, scale)
	s.node(t, "scale", kernels.ScaleRepeat{Times: 2}, kernels.Result, m, scale)
	s.node(t, "solver", kernels.Solver{}, kernels.Result, m, m, m, s.value(kernels.Step, kernels.F32, "coefficients", 7))
	s.node(t, "time", kernels.Sinusoid{Dim: 320}, kernels.Result, s.value(kernels.Step, kernels.F32, "t", 1, 1))
	p := s.compile(t, d)
	ctx := context.Background()
	if n := testing.AllocsPerRun(20, func() {
		if err := p.Run(ctx); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("a run allocates %g times", n)
	}
}

func TestCancelling(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	d := newTestDevice(t, Options{Threads: 2, Trace: func(n Timing) {
		if n.Node.Path == "text.add" {
			cancel()
		}
	}})
	s := newStep(t, 50)
	p := s.compile(t, d)
	write(t, p, s.text, filled(50, 1))
	write(t, p, s.latents, filled(50, 2))
	if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled run: %v", err)
	}
	if got := read(t, p, s.latents, 50)[0]; got != 2 {
		t.Errorf("latents %g after a run that was cancelled before they advance", got)
	}
	run(t, p)
	if got := read(t, p, s.latents, 50)[0]; math.Abs(float64(got)-3-siluTrue(1)) > 1e-6 {
		t.Errorf("latents %g after the next run", got)
	}
	// A run that waits for its turn gives up with its context.
	if err := d.engine.LockContext(context.Background()); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer stop()
	if err := p.Run(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting run: %v", err)
	}
	d.engine.Unlock()
}

// TestAccessRules sees that the rules of package engine are asked; that they are right is its own test.
func TestAccessRules(t *testing.T) {
	s := newStep(t, 10)
	p := s.compile(t, newTestDevice(t, Options{Threads: 1}))
	for _, c := range []struct {
		err  error
		want string
	}{
		{p.Write(s.result, make([]byte, 40)), "is a result and cannot be written"},
		{p.Read(t.Context(), s.result, make([]byte, 4)), "into 4 bytes, want 40"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("error %v, want %q", c.err, c.want)
		}
	}
	if err := p.Finite(t.Context()); err != nil {
		t.Errorf("Finite before a run: %v", err)
	}
}

// TestNodePanics shows that a kernel that panics is an error of the run that names the node.
func TestNodePanics(t *testing.T) {
	s := newStep(t, 10)
	p := s.compile(t, newTestDevice(t, Options{Threads: 2}))
	run(t, p)
	short := p.(*program)
	short.owned[short.plan.Nodes[2].Out[0]].n = 3 // elements of the temporary
	if err := p.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "cond: ") || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("error %v", err)
	}
}

// TestCopyIntoRequest: a request that comes from another program makes what is hoisted run again, and is what Finite
// computes from.
func TestCopyIntoRequest(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 2})
	const n = 40
	from, to := newStep(t, n), newStep(t, n)
	p, q := from.compile(t, d), to.compile(t, d)
	result := func(text float32) float64 {
		t.Helper()
		write(t, p, from.latents, filled(n, text))
		if err := q.CopyFrom(to.text, p, from.latents); err != nil {
			t.Fatal(err)
		}
		run(t, q)
		return float64(read(t, q, to.result, n)[n-1])
	}
	for _, text := range []float32{1, -2, 0.5, 0.5} {
		if got, want := result(text), trueGELU(siluTrue(float64(text))+float64(text)); math.Abs(got-want) > 8*eps32 {
			t.Errorf("request %g: result %g, want %g", text, got, want)
		}
		if err := q.Finite(t.Context()); err != nil {
			t.Error(err)
		}
	}
	result(float32(math.NaN()))
	if err := q.Finite(t.Context()); err == nil || !strings.Contains(err.Error(), "text.act (kernels.Activate): element 0 of the output is NaN") {
		t.Errorf("Finite after NaN was copied says %v", err)
	}
}

// TestFiniteOfLaterRuns: a request is written once for many runs, and Finite computes each of them from it, whatever
// was written since.
func TestFiniteOfLaterRuns(t *testing.T) {
	const n = 40
	s := newStep(t, n)
	p := s.compile(t, newTestDevice(t, Options{Threads: 1}))
	nan := float32(math.NaN())
	for text, after := range map[float32]float32{1: nan, nan: 1} {
		write(t, p, s.latents, filled(n, 0)) // the last request's NaN is in them
		write(t, p, s.text, filled(n, text))
		for i := range 3 {
			run(t, p)
			if i == 2 {
				write(t, p, s.text, filled(n, after))
			}
			err := p.Finite(t.Context())
			if text == text {
				if err != nil {
					t.Errorf("run %d of %g: %v", i+1, text, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), "text.act") {
				t.Errorf("run %d of NaN: %v, want the first node that it reaches", i+1, err)
			}
		}
	}
	// What overflows does so because of the request alone: from zeros all is finite.
	write(t, p, s.latents, filled(n, 0))
	write(t, p, s.text, filled(n, math.MaxFloat32))
	for i := range 2 {
		run(t, p)
		if err := p.Finite(t.Context()); err == nil || !strings.Contains(err.Error(), "text.add") {
			t.Errorf("run %d of what overflows: %v", i+1, err)
		}
	}
}
