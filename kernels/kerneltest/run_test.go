package kerneltest

import (
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
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
		{"NaN", "add/odd 17", fake{result: onFirst(func(_ int, y []float32) { y[3] = nan })}, "element 3 is NaN"},
		{"Inf", "add/odd 17", fake{result: onFirst(func(_ int, y []float32) { y[3] = float32(math.Inf(-1)) })}, "element 3 is -Inf"},
		{"NaN outside the judged", "scale/1024", fake{result: onFirst(func(_ int, y []float32) { y[12345] = nan })}, "element 12345 is NaN"},
		{"moved data rounded", "concat/odd 17", fake{result: onFirst(func(_ int, y []float32) { y[0] *= 1 + 0x1p-22 })}, "beyond its budget"},
		{"bf16 for fp32", "linear/rows 8", fake{result: onFirst(func(_ int, y []float32) { cases.Round(y, kernels.BF16) })}, "beyond its budget"},
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
