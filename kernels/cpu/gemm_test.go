package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// rig holds a kernel's operands in guarded memory: whatever lies around an operand must be the same after the run.
type rig struct {
	t       testing.TB
	rng     *rand.Rand
	tensors []kernels.Tensor
	in      []view
	guarded []guarded
}

type guarded struct {
	name string
	all  []uint32
	n    int // words of data between the guards
	out  bool
	was  []uint32
}

const guard = 64 // words before and after an operand

// canary is a NaN, so that reading it where it matters shows as well.
const canary = 0x7fc0beef

func newRig(t testing.TB) *rig { return &rig{t: t, rng: rand.New(rand.NewPCG(7, 11))} }

// memory returns room for n words between guards, the end of it exactly at a guard.
func (r *rig) memory(name string, n int, out bool) []uint32 {
	g := guarded{name: name, all: make([]uint32, n+2*guard), n: n, out: out}
	for i := range g.all {
		g.all[i] = canary
	}
	r.guarded = append(r.guarded, g)
	return g.all[guard : guard+n : guard+n]
}

func floatsOf(words []uint32) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(words))), len(words))
}

// add makes an operand of values in (−scale, scale).
func (r *rig) add(dtype kernels.DType, role kernels.Role, scale float64, shape ...int) {
	n := kernels.Elements(shape)
	v := view{shape: shape, dtype: dtype}
	words := r.memory(fmt.Sprint("input ", len(r.in)), (n*dtype.Size()+3)/4, false)
	next := func() float32 { return float32((2*r.rng.Float64() - 1) * scale) }
	switch dtype {
	case kernels.F32:
		v.f32 = floatsOf(words)
		for i := range v.f32 {
			v.f32[i] = next()
		}
	default:
		v.u16 = unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(words))), n)
		for i := range v.u16 {
			if v.u16[i] = kernels.ToF16(next()); dtype == kernels.BF16 {
				v.u16[i] = kernels.ToBF16(next())
			}
		}
	}
	r.tensors = append(r.tensors, kernels.Tensor{Name: fmt.Sprint("input ", len(r.in)), Role: role, DType: dtype, Shape: shape})
	r.in = append(r.in, v)
}

func (v view) wide() []float64 {
	x := make([]float64, kernels.Elements(v.shape))
	w := v.weights(0)
	for i := range x {
		x[i] = float64(w.at(i))
	}
	return x
}

func (r *rig) kernel(spec kernels.Spec, out []kernels.Tensor, v *variant) kernel {
	switch s := spec.(type) {
	case kernels.Linear:
		return newLinear(s, r.tensors, out, v)
	case kernels.Conv2d:
		return newConv2d(s, r.tensors, out, v)
	case kernels.Attention:
		return newAttention(s, r.tensors, out, v)
	}
	r.t.Fatalf("no kernel for %T", spec)
	return nil
}

// run computes the spec on a variant and checks the guards.
func (r *rig) run(p *pool, v *variant, spec kernels.Spec) view {
	r.t.Helper()
	out, err := spec.Infer(r.tensors)
	if err != nil {
		r.t.Fatal(err)
	}
	k := r.kernel(spec, out, v)
	inputs := len(r.guarded)
	y := view{shape: out[0].Shape, dtype: kernels.F32, f32: floatsOf(r.memory("output", out[0].Len(), true))}
	shared, each := k.scratch()
	s := scratch{shared: floatsOf(r.memory("shared scratch", shared, true))}
	for w := range p.workers() {
		s.worker = append(s.worker, floatsOf(r.memory(fmt.Sprint("scratch ", w), each, true)))
	}
	for i := range r.guarded {
		r.guarded[i].was = append([]uint32(nil), r.guarded[i].all...)
	}
	ins, outs := r.in, []view{y}
	if err := k.run(p, ins, outs, s); err != nil {
		r.t.Fatal(err)
	}
	for _, g := range r.guarded {
		for i, w := range g.all {
			inside := i >= guard && i < guard+g.n
			if w != g.was[i] && !(g.out && inside) {
				r.t.Fatalf("%s: word %d of %d was overwritten", g.name, i-guard, g.n)
			}
		}
	}
	if allocs := testing.AllocsPerRun(2, func() { _ = k.run(p, ins, outs, s) }); allocs != 0 {
		r.t.Errorf("run allocates %v times", allocs)
	}
	r.guarded = r.guarded[:inputs]
	return y
}

// check compares with want. The budget is derived: twice the error of adding the same products one after the other in float32 (root
// mean square over the tensor), and for a single element, which varies more, eight times as much; never below what rounding the result costs.
func (r *rig) check(got view, want []float64, plain []float32) {
	r.t.Helper()
	var sum, sumPlain, most, magnitude float64
	for i, w := range want {
		g := float64(got.f32[i])
		if math.IsNaN(g) || math.IsInf(g, 0) {
			r.t.Fatalf("element %d of %v is %v, want %v", i, got.shape, g, w)
		}
		e, p := g-w, float64(plain[i])-w
		magnitude = max(magnitude, math.Abs(w))
		most = max(most, math.Abs(e))
		sum += e * e
		sumPlain += p * p
	}
	rms, rmsPlain := math.Sqrt(sum/float64(len(want))), math.Sqrt(sumPlain/float64(len(want)))
	rounding := magnitude * 0x1p-23
	if budget := 2*rmsPlain + rounding; !(rms <= budget) {
		r.t.Fatalf("%v: error %.3g (rms), of plain float32 %.3g: %.0f %% of the budget", got.shape, rms, rmsPlain, 100*rms/budget)
	}
	if budget := 16*rmsPlain + 2*rounding; !(most <= budget) {
		r.t.Fatalf("%v: error %.3g (largest), of plain float32 %.3g (rms): %.0f %% of the budget", got.shape, most, rmsPlain, 100*most/budget)
	}
	r.t.Logf("error %.3g rms, %.3g largest; of plain float32 %.3g rms", rms, most, rmsPlain)
}

func activate(a kernels.Activation, x float64) float64 {
	switch a {
	case kernels.SiLU:
		return x / (1 + math.Exp(-x))
	case kernels.GELU, kernels.GEGLU:
		return x * 0.5 * math.Erfc(-x/math.Sqrt2)
	case kernels.QuickGELU:
		return x / (1 + math.Exp(-1.702*x))
	}
	return x
}

func eachGemm(t *testing.T, f func(t *testing.T, v *variant, p *pool)) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			p := newPool(3)
			defer p.close()
			f(t, v, p)
			if err := p.failure(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestLinear(t *testing.T) {
	type dims struct{ m, n, k int }
	shapes := []dims{
		{1, 1, 1}, {2, 3, 5}, {1, 64, 320}, {2, 1280, 320}, {4, 33, 70}, {5, 7, 9}, {7, 130, 77}, {12, 32, 16}, {13, 33, 17},
		{24, 64, 640}, {37, 96, 1000}, {77, 50, 768}, {154, 331, 100}, {500, 10, 33}, {1003, 4, 20},
	}
	dtypes := []kernels.DType{kernels.F32, kernels.F16, kernels.BF16}
	specs := []kernels.Linear{
		{}, {Bias: true}, {Bias: true, Residual: true}, {Residual: true}, {Bias: true, Act: kernels.SiLU}, {Act: kernels.GEGLU, Bias: true},
		{Act: kernels.GELU, Residual: true, Bias: true}, {Act: kernels.QuickGELU}, {Act: kernels.GEGLU, Residual: true},
	}
	eachGemm(t, func(t *testing.T, v *variant, p *pool) {
		for i, d := range shapes {
			for j := range 3 {
				spec, dtype := specs[(i*3+j)%len(specs)], dtypes[(i+j)%3]
				if spec.Act == kernels.GEGLU {
					d.n += d.n % 2
				}
				t.Run(fmt.Sprintf("%dx%dx%d_%v_%+v", d.m, d.n, d.k, dtype, spec), func(t *testing.T) {
					testLinear(t, p, v, spec, d.m, d.n, d.k, dtype)
				})
			}
		}
	})
}

func testLinear(t *testing.T, p *pool, v *variant, spec kernels.Linear, m, n, k int, dtype kernels.DType) {
	r := newRig(t)
	r.add(kernels.F32, kernels.Temp, 1, 1, m, k)
	r.add(dtype, kernels.Weight, math.Sqrt(3/float64(k)), n, k)
	width := n
	if spec.Act == kernels.GEGLU {
		width /= 2
	}
	if spec.Bias {
		r.add(kernels.F32, kernels.Weight, 1, n)
	}
	if spec.Residual {
		r.add(kernels.F32, kernels.Temp, 1, 1, m, width)
	}
	got := r.run(p, v, spec)
	x, w := r.in[0].wide(), r.in[1].wide()
	next := 2
	var bias, rest []float64
	if spec.Bias {
		bias, next = r.in[next].wide(), next+1
	}
	if spec.Residual {
		rest = r.in[next].wide()
	}
	want, plain := make([]float64, m*width), make([]float32, m*width)
	sum := func(i, j int) (float64, float32) {
		var wide float64
		var narrow float32
		for l := range k {
			wide += x[i*k+l] * w[j*k+l]
			narrow += float32(x[i*k+l]) * float32(w[j*k+l])
		}
		if bias != nil {
			wide += bias[j]
			narrow += float32(bias[j])
		}
		return wide, narrow
	}
	for i := range m {
		for j := range width {
			a, b := sum(i, j)
			if spec.Act == kernels.GEGLU {
				c, d := sum(i, j+width)
				a, b = a*activate(spec.Act, c), b*float32(activate(spec.Act, float64(d)))
			} else {
				a, b = activate(spec.Act, a), float32(activate(spec.Act, float64(b)))
			}
			if rest != nil {
				a += rest[i*width+j]
				b += float32(rest[i*width+j])
			}
			want[i*width+j], plain[i*width+j] = a, b
		}
	}
	r.check(got, want, plain)
}

func TestConv2d(t *testing.T) {
	same := kernels.Padding{Top: 1, Left: 1, Bottom: 1, Right: 1}
	cases := []struct {
		b, h, w, c, c2, o, kh, kw int
		dtype                     kernels.DType
		spec                      kernels.Conv2d
	}{
		{1, 8, 8, 4, 0, 32, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Bias: true}},
		{2, 9, 7, 3, 0, 40, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same}},
		{2, 6, 11, 33, 0, 4, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true}},
		{1, 9, 9, 64, 0, 3, 3, 3, kernels.BF16, kernels.Conv2d{Stride: 1, Pad: same, Bias: true, Act: kernels.SiLU}},
		{2, 8, 6, 48, 0, 70, 3, 3, kernels.F16, kernels.Conv2d{Stride: 2, Pad: same, Bias: true, RowBias: true}},
		{1, 8, 10, 16, 0, 32, 3, 3, kernels.F32, kernels.Conv2d{Stride: 2, Pad: kernels.Padding{Bottom: 1, Right: 1}, Bias: true}},
		{2, 5, 6, 32, 0, 64, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, UpH: 10, UpW: 12, Bias: true}},
		{1, 5, 7, 20, 0, 33, 3, 3, kernels.F16, kernels.Conv2d{Stride: 1, Pad: same, UpH: 9, UpW: 15}},
		{2, 7, 5, 40, 0, 35, 3, 3, kernels.BF16, kernels.Conv2d{Stride: 1, Pad: same, RowBias: true, Residual: true}},
		{2, 6, 7, 64, 0, 48, 1, 1, kernels.F16, kernels.Conv2d{Stride: 1, Bias: true, Residual: true}},
		{2, 6, 7, 40, 23, 48, 1, 1, kernels.F16, kernels.Conv2d{Stride: 1, Concat: true, Bias: true}},
		{2, 6, 7, 40, 64, 37, 3, 3, kernels.F32, kernels.Conv2d{Stride: 1, Pad: same, Concat: true, Bias: true, RowBias: true, Act: kernels.SiLU, Residual: true}},
		{1, 14, 14, 3, 0, 20, 7, 7, kernels.F32, kernels.Conv2d{Stride: 7}},
		{1, 21, 22, 2, 0, 5, 20, 19, kernels.F32, kernels.Conv2d{Stride: 1, Pad: kernels.Padding{Left: 3}}},
		{1, 1, 1, 1, 0, 1, 1, 1, kernels.F32, kernels.Conv2d{Stride: 3, Pad: kernels.Padding{Top: 5, Right: 4}}},
		{1, 32, 33, 5, 0, 9, 2, 3, kernels.F16, kernels.Conv2d{Stride: 3, Pad: kernels.Padding{Top: 1, Left: 2, Right: 1}, Act: kernels.GELU}},
	}
	eachGemm(t, func(t *testing.T, v *variant, p *pool) {
		for i, c := range cases {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				r := newRig(t)
				s := c.spec
				r.add(kernels.F32, kernels.Temp, 1, c.b, c.h, c.w, c.c)
				if s.Concat {
					r.add(kernels.F32, kernels.Temp, 1, c.b, c.h, c.w, c.c2)
				}
				depth := (c.c + c.c2) * c.kh * c.kw
				r.add(c.dtype, kernels.Weight, math.Sqrt(3/float64(depth)), c.o, c.c+c.c2, c.kh, c.kw)
				if s.Bias {
					r.add(kernels.F32, kernels.Weight, 1, c.o)
				}
				if s.RowBias {
					r.add(kernels.F32, kernels.Temp, 1, c.b, c.o)
				}
				s.Residual = false
				out, err := s.Infer(r.tensors)
				if err != nil {
					t.Fatal(err)
				}
				if s.Residual = c.spec.Residual; s.Residual {
					r.add(kernels.F32, kernels.Temp, 1, out[0].Shape...)
				}
				want, plain := naiveConv(r, s, out[0].Shape)
				r.check(r.run(p, v, s), want, plain)
			})
		}
	})
}

// naiveConv is the definition, in float64 and in float32.
func naiveConv(r *rig, s kernels.Conv2d, shape []int) (want []float64, plain []float32) {
	in := r.in
	take := func(present bool) (v view) {
		if present {
			v, in = in[0], in[1:]
		}
		return v
	}
	wide := func(v view) []float64 {
		if v.shape == nil {
			return nil
		}
		return v.wide()
	}
	x, x2, weight := take(true), take(s.Concat), take(true)
	bias, rowBias, rest := wide(take(s.Bias)), wide(take(s.RowBias)), wide(take(s.Residual))
	a, b, w := x.wide(), wide(x2), weight.wide()
	h, width, c, c2 := x.shape[1], x.shape[2], x.shape[3], 0
	if s.Concat {
		c2 = x2.shape[3]
	}
	upH, upW := h, width
	if s.UpH > 0 {
		upH, upW = s.UpH, s.UpW
	}
	kh, kw := weight.shape[2], weight.shape[3]
	for n := range shape[0] {
		for y := range shape[1] {
			for z := range shape[2] {
				for o := range shape[3] {
					var sum float64
					var narrow float32
					for i := range kh {
						for j := range kw {
							row, col := y*s.Stride+i-s.Pad.Top, z*s.Stride+j-s.Pad.Left
							if row < 0 || row >= upH || col < 0 || col >= upW {
								continue
							}
							pixel := (n*h+row*h/upH)*width + col*width/upW
							for l := range c + c2 {
								var v float64
								if l < c {
									v = a[pixel*c+l]
								} else {
									v = b[pixel*c2+l-c]
								}
								f := w[((o*(c+c2)+l)*kh+i)*kw+j]
								sum += v * f
								narrow += float32(v) * float32(f)
							}
						}
					}
					if bias != nil {
						sum += bias[o]
						narrow += float32(bias[o])
					}
					if rowBias != nil {
						sum += rowBias[n*shape[3]+o]
						narrow += float32(rowBias[n*shape[3]+o])
					}
					sum, narrow = activate(s.Act, sum), float32(activate(s.Act, float64(narrow)))
					if rest != nil {
						sum += rest[len(want)]
						narrow += float32(rest[len(want)])
					}
					want, plain = append(want, sum), append(plain, narrow)
				}
			}
		}
	}
	return want, plain
}

func TestAttention(t *testing.T) {
	cases := []struct {
		b, t, s, heads, d int
		causal            bool
	}{
		{1, 1, 1, 1, 1, false}, {2, 5, 7, 3, 8, false}, {1, 77, 77, 2, 64, true}, {2, 40, 77, 2, 64, false}, {1, 30, 300, 1, 512, false},
		{1, 300, 300, 1, 12, true}, {1, 33, 530, 2, 17, false}, {2, 400, 260, 1, 40, false}, {1, 600, 600, 1, 20, true}, {1, 9, 13, 5, 33, false},
	}
	eachGemm(t, func(t *testing.T, v *variant, p *pool) {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				r := newRig(t)
				r.add(kernels.F32, kernels.Temp, 3, c.b, c.t, c.heads*c.d)
				r.add(kernels.F32, kernels.Temp, 3, c.b, c.s, c.heads*c.d)
				r.add(kernels.F32, kernels.Temp, 1, c.b, c.s, c.heads*c.d)
				want, plain := naiveAttention(r, c.heads, c.causal)
				r.check(r.run(p, v, kernels.Attention{Heads: c.heads, Causal: c.causal}), want, plain)
			})
		}
	})
}

// naiveAttention is the definition, in float64 and in float32.
func naiveAttention(r *rig, heads int, causal bool) (want []float64, plain []float32) {
	q, k, v := r.in[0].wide(), r.in[1].wide(), r.in[2].wide()
	b, t, width, s := r.in[0].shape[0], r.in[0].shape[1], r.in[0].shape[2], r.in[1].shape[1]
	d := width / heads
	want, plain = make([]float64, len(q)), make([]float32, len(q))
	for n := range b {
		for h := range heads {
			for i := range t {
				seen := s
				if causal {
					seen = i + 1
				}
				scores, narrow := make([]float64, seen), make([]float32, seen)
				most := math.Inf(-1)
				for j := range seen {
					for l := range d {
						x, y := q[(n*t+i)*width+h*d+l], k[(n*s+j)*width+h*d+l]
						scores[j] += x * y
						narrow[j] += float32(x) * float32(y)
					}
					scores[j] /= math.Sqrt(float64(d))
					narrow[j] *= float32(1 / math.Sqrt(float64(d)))
					most = max(most, scores[j])
				}
				var sum float64
				var sumNarrow float32
				for j := range seen {
					scores[j] = math.Exp(scores[j] - most)
					narrow[j] = float32(math.Exp(float64(narrow[j] - float32(most))))
					sum += scores[j]
					sumNarrow += narrow[j]
				}
				for l := range d {
					var x float64
					var y float32
					for j := range seen {
						f := v[(n*s+j)*width+h*d+l]
						x += scores[j] * f
						y += narrow[j] * float32(f)
					}
					at := (n*t+i)*width + h*d + l
					want[at], plain[at] = x/sum, y/sumNarrow
				}
			}
		}
	}
	return want, plain
}
