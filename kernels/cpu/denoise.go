package cpu

import (
	"math"

	"github.com/goxl/goxl/kernels"
)

// sinusoid embeds numbers; its frequencies are fixed, so they are kept.
type sinusoid struct {
	noScratch
	dim       int
	cosFirst  bool
	frequency []float32
}

func newSinusoid(s kernels.Sinusoid, _ []kernels.Tensor) kernel {
	k := &sinusoid{dim: s.Dim, cosFirst: s.CosFirst, frequency: make([]float32, s.Dim/2)}
	for i := range k.frequency {
		k.frequency[i] = frequency(i, s.Dim/2, s.FreqShift)
	}
	return k
}

// frequency rounds to float32 where the reference does: −ln(10000)·i, the quotient, and the exponential.
func frequency(i, half int, shift float64) float32 {
	exponent := float32(-math.Log(10000)) * float32(i)
	exponent /= float32(float64(half) - shift)
	return float32(math.Exp(float64(exponent)))
}

func (k *sinusoid) run(_ *workers, in, out []view, _ scratch) error {
	half := len(k.frequency)
	for n, t := range in[0].f32 {
		row := out[0].f32[n*k.dim:][:k.dim]
		clear(row[2*half:])
		first, second := row[:half], row[half:]
		if k.cosFirst {
			first, second = second, first
		}
		for i, f := range k.frequency {
			sin, cos := math.Sincos(float64(t * f))
			first[i], second[i] = float32(sin), float32(cos)
		}
	}
	return nil
}

func (k *sinusoid) release() {}

// scaleRepeat multiplies by a scalar and repeats the batch.
type scaleRepeat struct {
	noScratch
	v       *variant
	n       int
	times   int
	x, out  []float32
	by      float32
	perCopy int // parts of one copy
}

func newScaleRepeat(s kernels.ScaleRepeat, in []kernels.Tensor, v *variant) kernel {
	n := in[0].Len()
	return &scaleRepeat{v: v, n: n, times: s.Times, perCopy: rowwise(n, 1)}
}

func (k *scaleRepeat) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.by, k.out = in[0].f32, in[1].f32[0], out[0].f32
	p.run(k.times*k.perCopy, k)
	return nil
}

func (k *scaleRepeat) release() { k.x, k.out = nil, nil }

func (k *scaleRepeat) do(_, i int) {
	lo, hi := slice(k.n, k.perCopy, i%k.perCopy)
	k.v.gemm.scaled(k.out[i/k.perCopy*k.n:][lo:hi], k.x[lo:hi], k.by)
}

// guidance does one sample a part: latents are small.
type guidance struct {
	noScratch
	batch, n   int
	rescale    bool
	m, out     []float32
	scale, phi float64
}

func newGuidance(s kernels.Guidance, out []kernels.Tensor) kernel {
	batch := out[0].Shape[0]
	return &guidance{batch: batch, n: out[0].Len() / batch, rescale: s.Rescale}
}

func (k *guidance) run(p *workers, in, out []view, _ scratch) error {
	k.m, k.scale, k.out = in[0].f32, float64(in[1].f32[0]), out[0].f32
	if k.rescale {
		k.phi = float64(in[2].f32[0])
	}
	p.run(k.batch, k)
	return nil
}

func (k *guidance) release() { k.m, k.out = nil, nil }

func (k *guidance) do(_, b int) {
	u, c, out := k.m[b*k.n:][:k.n], k.m[(k.batch+b)*k.n:][:k.n], k.out[b*k.n:][:k.n]
	for i, x := range u {
		out[i] = float32(float64(x) + k.scale*(float64(c[i])-float64(x)))
	}
	if !k.rescale {
		return
	}
	// φ·guided·std(c)/std(guided) + (1−φ)·guided
	f := k.phi*deviation(c)/deviation(out) + 1 - k.phi
	for i, x := range out {
		out[i] = float32(float64(x) * f)
	}
}

// deviation is the unbiased standard deviation.
func deviation(x []float32) float64 {
	mean := 0.0
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	square := 0.0
	for _, v := range x {
		square += (float64(v) - mean) * (float64(v) - mean)
	}
	return math.Sqrt(square / float64(len(x)-1))
}

// solver reads every operand of an element before it writes one, since outputs may be inputs.
type solver struct {
	history  int
	n, parts int

	operands     [][]float32 // x, none for x0, m, noise, history
	out          [][]float32
	coefficients []float32
	worker       [][]float32
}

func newSolver(s kernels.Solver, out []kernels.Tensor) kernel {
	n := out[0].Len()
	return &solver{
		history: s.History, n: n, parts: rowwise(n, 4+s.History),
		operands: make([][]float32, 4+s.History), out: make([][]float32, 1+s.History),
	}
}

// scratch: the outputs of one element wait until all are computed.
func (k *solver) scratch() (shared, perWorker int) { return 0, len(k.out) }

func (k *solver) run(p *workers, in, out []view, s scratch) error {
	k.operands[0], k.operands[2], k.operands[3] = in[0].f32, in[1].f32, in[2].f32
	k.coefficients, k.worker = in[3].f32, s.worker
	for i := range k.history {
		k.operands[4+i] = in[4+i].f32
	}
	for i := range out {
		k.out[i] = out[i].f32
	}
	p.run(k.parts, k)
	return nil
}

func (k *solver) release() {
	clear(k.operands)
	clear(k.out)
	k.coefficients, k.worker = nil, nil
}

func (k *solver) do(w, i int) {
	lo, hi := slice(k.n, k.parts, i)
	a, b, clip := k.coefficients[0], k.coefficients[1], float64(k.coefficients[2])
	matrix, width, next := k.coefficients[3:], len(k.operands), k.worker[w]
	for e := lo; e < hi; e++ {
		x0 := term(a, k.operands[0], e) + term(b, k.operands[2], e)
		if clip != 0 {
			x0 = max(-clip, min(clip, x0))
		}
		for row := range k.out {
			sum := 0.0
			for j, f := range matrix[row*width:][:width] {
				switch {
				case j != 1:
					sum += term(f, k.operands[j], e)
				case f != 0:
					sum += float64(f) * x0
				}
			}
			next[row] = float32(sum)
		}
		for row, out := range k.out {
			out[e] = next[row]
		}
	}
}

// term is f·x[e], 0 for a zero coefficient whatever x holds.
func term(f float32, x []float32, e int) float64 {
	if f == 0 {
		return 0
	}
	return float64(f) * float64(x[e])
}
