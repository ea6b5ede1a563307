package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestDenoising(t *testing.T) {
	times := operand{shape: []int{2, 2}, x: []float32{999, 0, 1024, 333.25}}
	for _, s := range []kernels.Sinusoid{{Dim: 320, CosFirst: true}, {Dim: 7, FreqShift: 1}} {
		want := make([]float64, 4*s.Dim)
		for n, at := range times.x {
			half := s.Dim / 2
			for i := range half {
				f := float32(math.Exp(-math.Log(10000) * float64(i) / (float64(half) - s.FreqShift)))
				sin, cos := math.Sincos(float64(at * f))
				if s.CosFirst {
					sin, cos = cos, sin
				}
				want[n*s.Dim+i], want[n*s.Dim+half+i] = sin, cos
			}
		}
		// Two roundings of the exponent (up to 9.2) move the frequency, and the phase is up to 1024 times it; f·t
		// itself is largest where the exponent is smallest: 1024·max(e·exp(−e)) = 377.
		compute(t, fmt.Sprint("sinusoid ", s.Dim), s, []operand{times}, 3*377*eps32+1024*2*eps32, want)
	}

	x, scale := random(1, 0, 2, 9, 7, 4), operand{shape: []int{1}, x: []float32{0.37}}
	want := mapped(x.x, func(v float64) float64 { return v * float64(scale.x[0]) })
	compute(t, "scale and repeat", kernels.ScaleRepeat{Times: 2}, []operand{x, scale}, 2*eps32, append(want, want...))

	m, guide, phi := random(1, 0.5, 4, 9, 7, 4), operand{shape: []int{1}, x: []float32{7.5}}, operand{shape: []int{1}, x: []float32{0.7}}
	n := 9 * 7 * 4
	guided, rescaled := make([]float64, 2*n), make([]float64, 2*n)
	for b := range 2 {
		for i := range n {
			u, c := float64(m.x[b*n+i]), float64(m.x[(2+b)*n+i])
			guided[b*n+i] = u + 7.5*(c-u)
		}
		std := func(x []float64) float64 {
			mean, square := 0.0, 0.0
			for _, v := range x {
				mean += v / float64(n)
			}
			for _, v := range x {
				square += (v - mean) * (v - mean)
			}
			return math.Sqrt(square / float64(n-1))
		}
		p := float64(phi.x[0])
		for i := range n {
			g := guided[b*n+i]
			rescaled[b*n+i] = p*g*std(f64(m.x[(2+b)*n:(3+b)*n]))/std(guided[b*n:(b+1)*n]) + (1-p)*g
		}
	}
	compute(t, "guidance", kernels.Guidance{}, []operand{m, guide}, 2*eps32, guided)
	compute(t, "guidance rescaled", kernels.Guidance{Rescale: true}, []operand{m, guide, phi}, 4*eps32, rescaled)
}

func TestSolver(t *testing.T) {
	nan := float32(math.NaN())
	shape := []int{2, 5, 7, 4}
	x, m, noise, h := random(3, 0, shape...), random(1, 0, shape...), random(1, 0, shape...), random(1, 0, shape...)
	for i := range noise.x {
		noise.x[i] = nan // its coefficients are 0
	}
	c := operand{shape: []int{3 + 2*5}, x: []float32{0.9, -0.4, 1, 0.5, 0.25, -0.125, 0, 2, 0, 1, 0, 0, 0.3}}
	next, history := make([]float64, len(x.x)), make([]float64, len(x.x))
	for i := range next {
		f := func(k int) float64 { return float64(c.x[k]) }
		x0 := max(-1, min(1, f(0)*float64(x.x[i])+f(1)*float64(m.x[i])))
		next[i] = f(3)*float64(x.x[i]) + f(4)*x0 + f(5)*float64(m.x[i]) + f(7)*float64(h.x[i])
		history[i] = x0 + f(12)*float64(h.x[i])
	}
	compute(t, "solver", kernels.Solver{History: 1}, []operand{x, m, noise, c, h}, 2*eps32, next, history)
}

// TestSolverInPlace advances states that are inputs and outputs of one node: x' = 0.5·x + 0.25·h and h' = 2·x − h.
func TestSolverInPlace(t *testing.T) {
	for _, v := range variants() {
		d := newTestDevice(t, Options{Threads: 2, Variant: v.name})
		const n = 30000
		var s planner
		x, h := s.value(kernels.State, kernels.F32, "x", 1, n), s.value(kernels.State, kernels.F32, "h", 1, n)
		m := s.value(kernels.Step, kernels.F32, "m", 1, n)
		c := s.value(kernels.Step, kernels.F32, "coefficients", 13)
		s.plan.Nodes = []kernels.Node{{Spec: kernels.Solver{History: 1}, Path: "solver", In: []kernels.Value{x, m, m, c, h}, Out: []kernels.Value{x, h}}}
		p := s.compile(t, d)
		write(t, p, x, filled(n, 8))
		write(t, p, h, filled(n, 4))
		write(t, p, c, []float32{0, 0, 0, 0.5, 0, 0, 0, 0.25, 2, 0, 0, 0, -1})
		wantX, wantH := float32(8), float32(4)
		for range 3 {
			run(t, p)
			wantX, wantH = 0.5*wantX+0.25*wantH, 2*wantX-wantH
			if err := p.Finite(t.Context()); err != nil {
				t.Error(err)
			}
			if got := read(t, p, x, n); !slices.Equal(got, filled(n, wantX)) {
				t.Fatalf("x is %g, want %g", got[0], wantX)
			}
			if got := read(t, p, h, n); !slices.Equal(got, filled(n, wantH)) {
				t.Fatalf("h is %g, want %g", got[0], wantH)
			}
		}
	}
}
