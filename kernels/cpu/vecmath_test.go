package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// eachVariant runs the test once for every variant of this machine.
func eachVariant(t *testing.T, f func(t *testing.T, v *variant)) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) { f(t, v) })
	}
}

// sweep covers float32: every magnitude of both signs, denormals, zeros, the bounds of exp, infinities and NaN, and a
// dense stretch where the functions bend.
func sweep() []float32 {
	var x []float32
	for b := uint32(0); b < 0x7f800000; b += 40009 {
		x = append(x, math.Float32frombits(b), math.Float32frombits(b|1<<31))
	}
	for v := float32(-110); v < 95; v += 0.0037 {
		x = append(x, v)
	}
	inf := float32(math.Inf(1))
	nan := float32(math.NaN())
	return append(x, inf, -inf, nan, -nan, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 88.72283, 88.72284, -87.33654, -103.97, -103.98, nan)
}

func ulp(x float64) float64 {
	f := float32(math.Abs(x))
	if f >= math.MaxFloat32 {
		f = math.MaxFloat32 / 2
	}
	return float64(math.Nextafter32(f, math.MaxFloat32)) - float64(f)
}

// agree reports whether got is want to within tolerance; both NaN, or the same infinity, agree too.
func agree(got float32, want, tolerance float64) bool {
	g := float64(got)
	if math.IsNaN(g) || math.IsNaN(want) {
		return math.IsNaN(g) && math.IsNaN(want)
	}
	if math.IsInf(g, 0) || math.Abs(want) > math.MaxFloat32 {
		return g == want || math.IsInf(g, int(math.Copysign(1, want))) && math.Abs(want) >= math.MaxFloat32
	}
	return math.Abs(g-want) <= tolerance
}

func trueGELU(x float64) float64 { return x * 0.5 * math.Erfc(-x/math.Sqrt2) }

// plainGELU is the formula in float32 with an exact erf: the yardstick for the error.
func plainGELU(x float32) float32 {
	return 0.5 * x * (1 + float32(math.Erf(float64(x*float32(math.Sqrt2/2)))))
}

func TestActivationsOfOneElement(t *testing.T) {
	x := sweep()
	got := make([]float32, len(x))
	gate := make([]float32, len(x))
	for i := range gate {
		gate[i] = 1
	}
	logistic := func(x, s float64) float64 { return x / (1 + math.Exp(-s*x)) }
	eachVariant(t, func(t *testing.T, v *variant) {
		for _, c := range []struct {
			name string
			run  func()
			want func(x float64) float64
			// tolerance is in units in the last place of the result, least is what always passes.
			tolerance, least float64
		}{
			// exp is good to 2 ulp, and sum and quotient (or the polynomials and the product) are rounded once each.
			// Where exp(−x) overflows the quotient is 0, and the tail of Φ is a denormal in the end.
			{"silu", func() { v.vec.silu(got, x) }, func(x float64) float64 { return logistic(x, 1) }, 4, 3e-37},
			{"quick_gelu", func() { v.vec.quickGELU(got, x) }, func(x float64) float64 { return logistic(x, float64(quickMul)) }, 4, 3e-37},
			{"gelu", func() { v.vec.gelu(got, x) }, trueGELU, 4, 4e-44},
			{"geglu", func() { v.vec.geglu(got, gate, x) }, trueGELU, 4, 4e-44},
			{"relu", func() { v.vec.relu(got, x) }, func(x float64) float64 { return max(x, 0) }, 0, 0},
			{"leaky_relu", func() { v.vec.leakyReLU(got, x) }, func(x float64) float64 { return max(x, float64(float32(0.2))*x) }, 1, 2e-45},
			{"soft_clamp", func() { v.vec.softClamp(got, x) }, func(x float64) float64 { return 3 * math.Tanh(x/3) }, 1, 0},
		} {
			c.run()
			bad := 0
			worst, plain := 0.0, 0.0 // absolute errors near 0
			for i, in := range x {
				want := c.want(float64(in))
				tolerance := c.tolerance*ulp(want) + c.least
				// The rounding of the argument of exp weighs with its size.
				tolerance += math.Abs(want) * 0x1p-23 * min(float64(in)*float64(in), 110)
				if !agree(got[i], want, tolerance) {
					if bad++; bad < 5 {
						t.Errorf("%s(%g) = %g, want %g ± %g", c.name, in, got[i], want, tolerance)
					}
				}
				if c.name == "gelu" && math.Abs(float64(in)) < 8 {
					worst = max(worst, math.Abs(float64(got[i])-want))
					plain = max(plain, math.Abs(float64(plainGELU(in))-want))
				}
			}
			if worst > 2*plain {
				t.Errorf("gelu: error %g, that of the plain formula in float32 %g", worst, plain)
			}
		}
	})
}

func TestExpShiftSum(t *testing.T) {
	eachVariant(t, func(t *testing.T, v *variant) {
		x := sweep()
		in := append([]float32(nil), x...)
		v.vec.expShiftSum(x, 0)
		worst := 0.0
		for i, got := range x {
			want := math.Exp(float64(in[i]))
			if !agree(got, want, 2*ulp(want)) {
				t.Fatalf("exp(%g) = %g, want %g to 2 ulp", in[i], got, want)
			}
			if want < math.MaxFloat32 && want > 0x1p-126 {
				worst = max(worst, math.Abs(float64(got)-want)/ulp(want))
			}
		}
		t.Logf("largest error of exp %.2f ulp", worst)
		for n := range 70 {
			x := make([]float32, n+1)
			x[n] = 7 // must not be touched
			want := 0.0
			for i := range n {
				x[i] = float32(i%13) / 5
				want += math.Exp(float64(x[i] - 3))
			}
			if got := v.vec.expShiftSum(x[:n], 3); !agree(got, want, 1e-6*want) || x[n] != 7 {
				t.Errorf("%d elements: sum %g, want %g; next element %g", n, got, want, x[n])
			}
		}
	})
}

// TestLengths walks every vector function over all lengths around the vector widths, and looks at the element behind.
func TestLengths(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	eachVariant(t, func(t *testing.T, v *variant) {
		for n := range 70 {
			a, b, c, d := make([]float32, n+1), make([]float32, n+1), make([]float32, n+1), make([]float32, n+1)
			fill := func() {
				for _, s := range [][]float32{a, b, c, d} {
					for i := range s {
						s[i] = rng.Float32()*4 - 2
					}
				}
			}
			check := func(name string, dst []float32, behind float32, want func(i int) float64) {
				t.Helper()
				for i := range n {
					if w := want(i); !agree(dst[i], w, 4*eps32*(8+math.Abs(w))) {
						t.Fatalf("%s of %d: element %d is %g, want %g", name, n, i, dst[i], w)
					}
				}
				if dst[n] != behind {
					t.Fatalf("%s of %d wrote behind its end", name, n)
				}
			}
			f := func(s []float32, i int) float64 { return float64(s[i]) }
			fill()
			v.vec.silu(a[:n], b)
			check("silu", a, a[n], func(i int) float64 { return f(b, i) / (1 + math.Exp(-f(b, i))) })
			for name, run := range map[string]func(dst, src []float32){"silu": v.vec.silu, "gelu": v.vec.gelu, "quick": v.vec.quickGELU, "relu": v.vec.relu, "leaky relu": v.vec.leakyReLU, "soft clamp": v.vec.softClamp} {
				fill()
				behind := a[n]
				copy(c, a)
				run(a[:n], a)
				want := map[string]func(x float64) float64{
					"silu":       func(x float64) float64 { return x / (1 + math.Exp(-x)) },
					"gelu":       trueGELU,
					"quick":      func(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) },
					"relu":       func(x float64) float64 { return max(x, 0) },
					"leaky relu": func(x float64) float64 { return max(x, 0.2*x) },
					"soft clamp": func(x float64) float64 { return 3 * math.Tanh(x/3) },
				}[name]
				check(name, a, behind, func(i int) float64 { return want(f(c, i)) })
			}
			fill()
			behind := a[n]
			v.vec.geglu(a[:n], b, c)
			check("geglu", a, behind, func(i int) float64 { return f(b, i) * trueGELU(f(c, i)) })
			v.vec.prelu(a[:n], b, c)
			check("prelu", a, behind, func(i int) float64 { return max(f(b, i), 0) + f(c, i)*min(f(b, i), 0) })
			v.vec.add(a[:n], b, c)
			check("add", a, behind, func(i int) float64 { return f(b, i) + f(c, i) })
			v.vec.scaleShift(a[:n], b, c, d)
			check("scaleShift", a, behind, func(i int) float64 { return f(b, i)*f(c, i) + f(d, i) })
			v.vec.normalize(a[:n], b, c, d, 0.5, 1.5)
			check("normalize", a, behind, func(i int) float64 { return (f(b, i)-0.5)*1.5*f(c, i) + f(d, i) })
			fill()
			oldA, oldB := append([]float32(nil), a...), append([]float32(nil), b...)
			v.vec.accumulate(a[:n], b, c, d)
			check("accumulate", a, oldA[n], func(i int) float64 { return f(oldA, i) + f(c, i) - f(d, i) })
			check("accumulate", b, oldB[n], func(i int) float64 { return f(oldB, i) + (f(c, i)-f(d, i))*(f(c, i)-f(d, i)) })

			largest, sum, square := math.Inf(-1), 0.0, 0.0
			a[n] = 100
			for i := range n {
				largest = max(largest, f(a, i))
				sum += f(a, i) - 0.25
				square += (f(a, i) - 0.25) * (f(a, i) - 0.25)
			}
			if got := v.vec.max(a[:n]); float64(got) != largest {
				t.Fatalf("max of %d: %g, want %g", n, got, largest)
			}
			s, q := v.vec.sums(a[:n], 0.25)
			if !agree(s, sum, 1e-5) || !agree(q, square, 1e-6*square) {
				t.Fatalf("sums of %d: %g, %g, want %g, %g", n, s, q, sum, square)
			}
			if n > 1 {
				a[n/2] = float32(math.NaN())
				if got := v.vec.max(a[:n]); got != got {
					t.Fatalf("max of %d with NaN is NaN", n)
				}
			}
		}
	})
}

func BenchmarkVector(b *testing.B) {
	x, y, z := make([]float32, 4096), make([]float32, 4096), make([]float32, 4096)
	for _, v := range variants() {
		for name, f := range map[string]func(){
			"silu": func() { v.vec.silu(y, x) }, "gelu": func() { v.vec.gelu(y, x) },
			"exp":        func() { v.vec.expShiftSum(z, 0) },
			"scaleShift": func() { v.vec.scaleShift(y, x, x, x) }, "accumulate": func() { v.vec.accumulate(y, z, x, x) },
		} {
			b.Run(fmt.Sprintf("%s/%s", v.name, name), func(b *testing.B) {
				b.SetBytes(4 * 4096)
				for b.Loop() {
					f()
				}
			})
		}
	}
}
