package kerneltest

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// TestFaithful runs the small table on devices without a fault.
func TestFaithful(t *testing.T) {
	for name, plain := range map[string]bool{"float64": false, "float32": true} {
		for _, precision := range []kernels.DType{kernels.F32, kernels.F16, kernels.BF16} {
			t.Run(name+" "+precision.String(), func(t *testing.T) {
				t.Parallel()
				d, r := &fake{plain: plain}, &recorder{TB: t}
				Run(r, d, RunOptions{Only: Small, Precision: precision})
				for _, e := range r.errors {
					t.Error(e)
				}
				t.Log(r.logs[len(r.logs)-1])
				if d.open != 0 {
					t.Errorf("%d programs and weights left open", d.open)
				}
			})
		}
	}
}

// TestFaithfulReal runs a few of the real shapes, which are judged at chosen elements.
func TestFaithfulReal(t *testing.T) {
	Run(t, &fake{plain: true}, RunOptions{Filter: "^(linear/base time|attention/clip L|layernorm/clip|gather/clip|(scale|guidance|solver)/1024)"})
}

// tanhGELU is the approximation that several ports of the model use by mistake.
func tanhGELU(s kernels.Spec, in []ref.Tensor) [][]float32 {
	if a, ok := s.(kernels.Activate); !ok || a.Act != kernels.GELU {
		return nil
	}
	y := make([]float32, len(in[0].F))
	for i, x := range in[0].F {
		x := float64(x)
		y[i] = float32(x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))))
	}
	return [][]float32{y}
}

// naiveNorm takes the variance as E[x²] − µ² in float32.
func naiveNorm(s kernels.Spec, in []ref.Tensor) [][]float32 {
	n, ok := s.(kernels.LayerNorm)
	if !ok {
		return nil
	}
	x, c := in[0].F, in[1].Shape[0]
	y := make([]float32, len(x))
	for row := 0; row < len(x); row += c {
		var sum, squares float32
		for _, v := range x[row : row+c] {
			sum += v
			squares += v * v
		}
		mean := sum / float32(c)
		std := float32(math.Sqrt(float64(max(0, squares/float32(c)-mean*mean)) + n.Eps))
		for i := range c {
			y[row+i] = (x[row+i]-mean)/std*in[1].F[i] + in[2].F[i]
		}
	}
	return [][]float32{y}
}

// TestBroken shows that each fault is found, and by which words.
func TestBroken(t *testing.T) {
	onFirst := func(change func(run int, y []float32)) func(int, kernels.Spec, [][]float32) {
		return func(run int, _ kernels.Spec, outs [][]float32) { change(run, outs[0]) }
	}
	tests := []struct {
		name   string
		filter string
		device fake
		want   string
	}{
		{"one element off", "linear/tile edges fp32", fake{result: onFirst(func(_ int, y []float32) { y[len(y)-1] += 1e-3 })}, "beyond its budget"},
		{"off by a part in 10⁵", "linear/deep fp32", fake{result: onFirst(func(_ int, y []float32) {
			for i := range y {
				y[i] *= 1 + 1e-5
			}
		})}, "beyond its budget"},
		{"a row not written", "conv/tile edges$", fake{result: onFirst(func(_ int, y []float32) { clear(y[len(y)-97:]) })}, "beyond its budget"},
		{"last output wrong", "solver/history 2 clip 0$", fake{result: func(_ int, _ kernels.Spec, outs [][]float32) { outs[2][0] += 1e-3 }}, "output 2"},
		{"NaN", "add/odd 17", fake{result: onFirst(func(_ int, y []float32) { y[3] = nan[0] })}, "element 3 is NaN"},
		{"Inf", "add/odd 17", fake{result: onFirst(func(_ int, y []float32) { y[3] = float32(math.Inf(-1)) })}, "element 3 is -Inf"},
		{"NaN outside the judged", "scale/1024", fake{result: onFirst(func(_ int, y []float32) { y[12345] = nan[0] })}, "element 12345 is NaN"},
		{"moved data rounded", "concat/odd 17", fake{result: onFirst(func(_ int, y []float32) { y[0] *= 1 + 0x1p-22 })}, "beyond its budget"},
		{"bf16 for fp32", "linear/rows 8", fake{result: onFirst(func(_ int, y []float32) { narrow(y, kernels.BF16) })}, "beyond its budget"},
		{"tanh GELU", "activate/odd gelu 130", fake{compute: tanhGELU}, "beyond its budget"},
		{"cancelling variance", "layernorm/large mean", fake{compute: naiveNorm}, "beyond its budget"},
		{"unlike runs", "linear/rows 8", fake{result: onFirst(func(run int, y []float32) {
			if run == 2 {
				y[1] = math.Nextafter32(y[1], 9)
			}
		})}, "and " /* and … in the next */},
		{"input changed", "add/odd 17", fake{spoil: func(p *fakeProgram) { p.values[1].F[16] = 0 }}, "changed its input 0"},
		{"sentinel changed", "add/odd 17", fake{spoil: func(p *fakeProgram) { p.values[3].F[0] = 0 }}, "sentinel 1"},
		{"read beyond the end", "add/odd 17", fake{overread: true}, "wrote outside of its"},
		{"bad id unnoticed", "embedding/id -1 of 11", fake{blind: true}, "without the error"},
		{"bad row unnoticed", "gather/row 11 of 11", fake{blind: true}, "without the error"},
		{"Finite wrong", "add/odd 17", fake{lost: true}, "but Finite says"},
		{"declined", "add/odd 17", fake{refuses: func(kernels.Spec) bool { return true }}, "does not support"},
		{"no case", "nothing is called so", fake{}, "matches no case"},
		{"bad filter", "(", fake{}, "filter"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &recorder{TB: t}
			Run(r, &test.device, RunOptions{Filter: test.filter})
			if len(r.errors) == 0 || !strings.Contains(r.errors[0], test.want) {
				t.Errorf("got %q, want an error with %q", r.errors, test.want)
			}
			if test.device.open != 0 {
				t.Errorf("%d programs and weights left open", test.device.open)
			}
		})
	}
}

// TestMayDecline lets a device refuse what it was allowed to, and nothing else.
func TestMayDecline(t *testing.T) {
	d := &fake{refuses: func(s kernels.Spec) bool { _, ok := s.(kernels.Add); return ok }}
	r := &recorder{TB: t}
	Run(r, d, RunOptions{Filter: "(add|concat)/odd", MayDecline: d.refuses})
	if len(r.errors) != 0 {
		t.Error(r.errors)
	}
}

// sleeping is a device whose nodes take as long as is said, on the clock of a synctest bubble, where arithmetic takes
// no time: figures of it are exact on any machine.
func sleeping(took func(kernels.Spec) time.Duration) *fake {
	return &fake{peak: 1e12, result: func(_ int, s kernels.Spec, _ [][]float32) { time.Sleep(took(s)) }}
}

// TestBench times a case and checks the arithmetic of the figure.
func TestBench(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := sleeping(func(kernels.Spec) time.Duration { return 500 * time.Microsecond })
		var reported int
		figures, err := Bench(t.Context(), d, BenchOptions{Filter: "gather/clip G|linear/base time", Report: func(Figure) { reported++ }})
		if err != nil {
			t.Fatal(err)
		}
		if len(figures) != 2 || reported != 2 {
			t.Fatalf("%d figures, %d reported, want 2", len(figures), reported)
		}
		f := figures[0] // four runs make a group, 50 groups are more than enough; 2·2·320·1280 operations
		if f.Name != "linear/base time" || f.Shape != "2x320 1280x320 1280" || f.MinMS != 0.5 || f.MS != 0.5 || f.Runs != 4*maxGroups {
			t.Errorf("figure %+v", f)
		}
		if want := 2 * 2 * 320 * 1280 / f.MS / 1e6; math.Abs(f.GFLOPS-want) > 1e-9*want || math.Abs(f.Peak-f.GFLOPS/1e3) > 1e-12 {
			t.Errorf("%v GFLOP/s and %v of the peak, want %v", f.GFLOPS, f.Peak, want)
		}
		if want := (2*320*4 + 1280*320*2 + 1280*2 + 2*1280*4) / f.MS / 1e6; math.Abs(f.GBs-want) > 1e-9*want {
			t.Errorf("%v GB/s, want %v", f.GBs, want)
		}
	})
	if figures, err := Bench(t.Context(), &fake{peak: 1}, BenchOptions{Filter: "linear/base time"}); err != nil || len(figures) != 0 {
		t.Errorf("a run that takes %v was timed: %v, %v", longestRun, figures, err)
	}
	if _, err := Bench(t.Context(), &fake{}, BenchOptions{Filter: "no such"}); err == nil {
		t.Error("no error for a filter that matches nothing")
	}
}

// queueing is a device that has memory of its own.
type queueing struct{ *fake }

func (queueing) Memory() (kernels.Memory, error) { return kernels.Memory{}, nil }

// TestBenchAmongMany lets the copies around an operation take three times as long as the operation, of which there must
// be enough for that to show little, and counts numbers at their width.
func TestBenchAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const own = time.Millisecond
		d := sleeping(func(s kernels.Spec) time.Duration {
			switch s.(type) {
			case kernels.Activate:
				return 3 * own
			case kernels.LayerNorm:
				return own
			}
			return 0
		})
		figures, err := Bench(t.Context(), queueing{d}, BenchOptions{Filter: "^layernorm/clip L$", Precision: kernels.F16})
		if err != nil || len(figures) != 1 {
			t.Fatalf("%d figures, %v, want 1", len(figures), err)
		}
		f := figures[0] // 8 take 6 + 8 ms, too little; 16 take 6 + 16
		if f.MS != 22./16 || f.MinMS != f.MS || f.Runs != 16*minGroups {
			t.Errorf("figure %+v, want %v ms of %d runs", f, 22./16, 16*minGroups)
		}
		if want := (2*2*77*768 + 2*768) * 2 / f.MS / 1e6; math.Abs(f.GBs-want) > 1e-9*want {
			t.Errorf("%v GB/s, want %v", f.GBs, want)
		}
		if d.open != 0 {
			t.Errorf("%d programs and weights are open", d.open)
		}
	})
}

// TestBenchAmongManyKinds times operations that have no temporaries around them: a solver, whose operands are states,
// and one that reads ids.
func TestBenchAmongManyKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := sleeping(func(s kernels.Spec) time.Duration {
			switch s.(type) {
			case kernels.Solver:
				return 4 * time.Millisecond
			case kernels.Embedding:
				return 5 * time.Millisecond
			}
			return 0
		})
		figures, err := Bench(t.Context(), queueing{d}, BenchOptions{Filter: "^solver/1024$|^embedding/clip L$", Precision: kernels.F16})
		if err != nil || len(figures) != 2 || figures[0].MS != 4 || figures[1].MS != 5 {
			t.Errorf("figures %+v, %v, want 4 and 5 ms", figures, err)
		}
	})
}

// overlapping is a device that computes while its host queues: a run takes the host launching, and the device computing for every layer norm.
type overlapping struct {
	queueing
	launching, computing time.Duration
}

func (d overlapping) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	made, err := d.queueing.Compile(p, w, o)
	if err != nil {
		return nil, err
	}
	return &overlappingProgram{fakeProgram: made.(*fakeProgram), d: d}, nil
}

type overlappingProgram struct {
	*fakeProgram
	d    overlapping
	done time.Time
}

func (p *overlappingProgram) Run(context.Context) error {
	if now := time.Now(); p.done.Before(now) {
		p.done = now
	}
	time.Sleep(p.d.launching)
	for _, n := range p.plan.Nodes {
		if _, ok := n.Spec.(kernels.LayerNorm); ok {
			p.done = p.done.Add(p.d.computing)
		}
	}
	return nil
}

func (p *overlappingProgram) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	time.Sleep(time.Until(p.done))
	return p.fakeProgram.Read(ctx, v, dst)
}

// TestBenchHidden lets the host take longer than several of the operations, which must show in no figure.
func TestBenchHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := overlapping{queueing{&fake{}}, 2 * time.Millisecond, 200 * time.Microsecond}
		figures, err := Bench(t.Context(), d, BenchOptions{Filter: "^layernorm/clip L$"})
		if err != nil || len(figures) != 1 {
			t.Fatalf("%d figures, %v, want 1", len(figures), err)
		}
		// Eight take the host 2 ms; of as many as take the device 20 ms, or more, one group begins with the host alone.
		if f := figures[0]; f.MS < 0.2 || f.MS > 0.23 {
			t.Errorf("%v ms, want 0.2 and a little of the host's first run", f.MS)
		}
	})
}
