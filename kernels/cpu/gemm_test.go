package cpu

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// rig holds a kernel's operands in fenced memory: what lies before an operand must be the same after the run, and what
// lies after it cannot be touched.
type rig struct {
	t       testing.TB
	rng     *rand.Rand
	tensors []kernels.Tensor
	in      []view
	guarded []guarded
}

type guarded struct {
	name string
	all  []byte // guard, then data
	out  bool
	was  []byte
}

const guard = 256 // bytes before an operand

// canary makes a NaN of every word, so that reading it where it matters shows as well.
const canary = 0xff

func newRig(t testing.TB) *rig { return &rig{t: t, rng: rand.New(rand.NewPCG(7, 11))} }

// memory returns room for n bytes between guards.
func (r *rig) memory(name string, n int, out bool) []byte {
	g := guarded{name: name, all: fenced(r.t, guard+n), out: out}
	for i := range g.all {
		g.all[i] = canary
	}
	r.guarded = append(r.guarded, g)
	return g.all[guard:]
}

func (r *rig) floats(name string, n int, out bool) []float32 {
	return floatsOf(r.memory(name, 4*n, out))
}

func floatsOf(b []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/4)
}

// add makes an operand of values in (−scale, scale).
func (r *rig) add(dtype kernels.DType, role kernels.Role, scale float64, shape ...int) {
	n := kernels.Elements(shape)
	v := view{shape: shape, dtype: dtype}
	data := r.memory(fmt.Sprint("input ", len(r.in)), n*dtype.Size(), false)
	next := func() float32 { return float32((2*r.rng.Float64() - 1) * scale) }
	switch dtype {
	case kernels.F32:
		v.f32 = floatsOf(data)
		for i := range v.f32 {
			v.f32[i] = next()
		}
	default:
		v.u16 = unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(data))), n)
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
func (r *rig) run(p *workers, v *variant, spec kernels.Spec) view {
	r.t.Helper()
	out, err := spec.Infer(r.tensors)
	if err != nil {
		r.t.Fatal(err)
	}
	k := r.kernel(spec, out, v)
	inputs := len(r.guarded)
	y := view{shape: out[0].Shape, dtype: kernels.F32, f32: r.floats("output", out[0].Len(), true)}
	shared, each := k.scratch()
	s := scratch{shared: r.floats("shared scratch", shared, true)}
	for w := range p.count() {
		s.worker = append(s.worker, r.floats(fmt.Sprint("scratch ", w), each, true))
	}
	for i := range r.guarded {
		r.guarded[i].was = slices.Clone(r.guarded[i].all)
	}
	ins, outs := r.in, []view{y}
	if err := k.run(p, ins, outs, s); err != nil {
		r.t.Fatal(err)
	}
	for _, g := range r.guarded {
		n := len(g.all)
		if g.out {
			n = guard
		}
		if !bytes.Equal(g.all[:n], g.was[:n]) {
			r.t.Fatalf("%s, or what lies before it, was overwritten", g.name)
		}
	}
	if allocs := testing.AllocsPerRun(2, func() { _ = k.run(p, ins, outs, s) }); allocs != 0 {
		r.t.Errorf("run allocates %v times", allocs)
	}
	r.guarded = r.guarded[:inputs]
	return y
}

// check compares with want. The budget is derived: twice the error of adding the same products one after the other in
// float32 (root mean square over the tensor), and for a single element, which varies more, eight times as much; never
// below what rounding the result costs.
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
	case kernels.ReLU:
		return max(x, 0)
	case kernels.LeakyReLU:
		return max(x, 0.2*x)
	}
	return x
}

func eachGemm(t *testing.T, f func(t *testing.T, v *variant, p *workers)) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			p := newWorkers(3)
			defer p.close()
			f(t, v, p)
			if err := p.failure(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
