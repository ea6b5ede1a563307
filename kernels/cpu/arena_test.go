package cpu

import (
	"runtime"
	"testing"
	"weak"

	"github.com/goxl/goxl/kernels"
)

// everyKernel is a plan with a node of every kind of kernel, whose operands, in and out, are as many temporaries as can
// be; size is its images' side.
func everyKernel(t testing.TB, size int) *planner {
	var s planner
	temp := func(path string, spec kernels.Spec, in ...kernels.Value) kernels.Value {
		return s.node(t, path, spec, kernels.Temp, in...)[0]
	}
	const c = 32
	pixels := s.value(kernels.Step, kernels.U8, "pixels", 1, size, size, 4)
	x := temp("frompixels", kernels.FromPixels{}, pixels)
	x = temp("conv", kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}}, x, s.weight("conv.weight", make([]float32, c*3*9), kernels.F16, c, 3, 3, 3))
	weight, bias := s.weight("norm.weight", filled(c, 1), kernels.F16, c), s.weight("norm.bias", filled(c, 0), kernels.F16, c)
	x = temp("groupnorm", kernels.GroupNorm{Groups: 8, Eps: 1e-5, Act: kernels.SiLU}, x, weight, bias)
	wide, wideBias := s.weight("wide.weight", filled(2*c, 1), kernels.F16, 2*c), s.weight("wide.bias", filled(2*c, 0), kernels.F16, 2*c)
	both := temp("groupnorm of two", kernels.GroupNorm{Groups: 8, Eps: 1e-5, Concat: true}, x, x, wide, wideBias)
	x = temp("geglu", kernels.Activate{Act: kernels.GEGLU}, both)
	x = temp("layernorm", kernels.LayerNorm{Eps: 1e-5}, x, weight, bias)
	x = temp("linear", kernels.Linear{Act: kernels.GEGLU}, x, s.weight("ff.weight", make([]float32, 2*c*c), kernels.F16, 2*c, c))
	x = temp("attention", kernels.Attention{Heads: 2}, x, x, x)
	x = temp("add", kernels.Add{}, x, x)
	x = temp("concat", kernels.Concat{}, x, x)
	x = temp("resize", kernels.Resize{H: 2 * size, W: 2 * size}, x)
	x = temp("silu", kernels.Activate{Act: kernels.SiLU}, x)
	rgb := temp("to rgb", kernels.Conv2d{Stride: 1}, x, s.weight("rgb.weight", make([]float32, 3*2*c), kernels.F16, 3, 2*c, 1, 1))
	s.node(t, "topixels", kernels.ToPixels{}, kernels.Result, rgb)

	ids := s.value(kernels.Request, kernels.I32, "ids", 2, 7)
	rows := s.value(kernels.Request, kernels.I32, "rows", 2)
	states := temp("embedding", kernels.Embedding{}, ids, s.weight("tokens", make([]float32, 9*c), kernels.F16, 9, c), s.weight("positions", make([]float32, 7*c), kernels.F16, 7, c))
	pooled := temp("gather", kernels.Gather{}, states, rows)
	pooled = temp("skinny", kernels.Linear{}, pooled, s.weight("skinny.weight", make([]float32, c*c), kernels.F16, c, c))
	scale := s.value(kernels.Step, kernels.F32, "scale", 1)
	times := temp("sinusoid", kernels.Sinusoid{Dim: c}, s.value(kernels.Step, kernels.F32, "t", 2, 1))
	temp("add rows", kernels.Add{Rows: true}, states, pooled)
	m := temp("guidance", kernels.Guidance{Rescale: true}, times, scale, scale)
	m = temp("scale", kernels.ScaleRepeat{Times: 2}, m, scale)
	m = temp("guidance again", kernels.Guidance{}, m, scale)
	s.node(t, "solver", kernels.Solver{}, kernels.Result, m, m, m, s.value(kernels.Step, kernels.F32, "coefficients", 7))
	return &s
}

// TestOldArenasAreCollected opens and runs programs of growing and then shrinking size beside one another: of all
// arenas that there were, only the last is still there, and none once the largest programs have closed.
func TestOldArenasAreCollected(t *testing.T) {
	d := newTestDevice(t, Options{Threads: 3})
	var old []weak.Pointer[float32]
	seen := func() {
		if p := weak.Make(&d.arena.memory[0]); len(old) == 0 || old[len(old)-1] != p {
			old = append(old, p)
		}
	}
	left := func() (n int) {
		runtime.GC()
		for _, p := range old {
			if p.Value() != nil {
				n++
			}
		}
		return n
	}
	type open struct {
		kernels.Program
		kernels.Weights
	}
	var programs []open
	for _, size := range []int{16, 32, 64, 96} {
		s := everyKernel(t, size)
		w, err := d.NewWeights(&s.source)
		if err != nil {
			t.Fatal(err)
		}
		p, err := d.Compile(&s.plan, w, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		programs = append(programs, open{p, w})
		run(t, p)
		seen()
		if err := p.Finite(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(old) != 4 {
		t.Fatalf("the arena moved %d times, want 4", len(old))
	}
	if n := left(); n != 1 {
		t.Errorf("growing: %d arenas are held, want the last one", n)
	}
	for len(programs) > 0 {
		last := programs[len(programs)-1]
		if err := last.Program.Close(); err != nil {
			t.Fatal(err)
		}
		if err := last.Weights.Close(); err != nil {
			t.Fatal(err)
		}
		if programs = programs[:len(programs)-1]; len(programs) > 0 {
			run(t, programs[0].Program)
			seen()
		}
		want := min(len(programs), 1)
		if n := left(); n != want {
			t.Errorf("%d programs open: %d arenas are held, want %d", len(programs), n, want)
		}
	}
}
