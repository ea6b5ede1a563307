package cpu

import (
	"math"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

const (
	// partFloats is about how many elements a part of memory-bound work has: a part must outweigh handing it out.
	partFloats = 1 << 14
	// foldRows is how many positions GroupNorm adds up in float32 before it goes on in float64.
	foldRows = 64
	// sampleRows is from how many positions GroupNorm guesses the means that it takes moments about.
	sampleRows = 16
)

// groupNorm works in three passes over one to two sources: moments by channel over parts of the image, about a guess of
// the mean, so that nothing cancels; from these a scale and shift for each channel; then the result. The parts do not
// depend on the number of workers, nor does the result.
type groupNorm struct {
	v          *variant
	spec       kernels.GroupNorm
	operands   kernels.Operands
	batch      int
	rows       int // positions of an image
	channels   [2]int
	width      int // channels of both
	parts      int // of an image, for the moments
	applyParts int

	pass         func(k *groupNorm, w, i int)
	x            [2][]float32
	weight, bias []float32
	out          []float32
	moments      []float64 // [batch][parts][mean, squares about it][width]
	scale, shift []float32 // [batch][width]
	worker       [][]float32
}

func newGroupNorm(s kernels.GroupNorm, in []kernels.Tensor, v *variant) kernel {
	at := s.Operands()
	shape := in[at.X].Shape
	k := &groupNorm{v: v, spec: s, operands: at, batch: shape[0], rows: shape[1] * shape[2], channels: [2]int{shape[3], 0}}
	if s.Concat {
		k.channels[1] = in[at.X2].Shape[3]
	}
	k.width = k.channels[0] + k.channels[1]
	k.parts = min(divUp(k.rows, foldRows), divUp(k.rows*k.width, partFloats), 64)
	k.applyParts = divUp(k.rows*k.width, partFloats)
	return k
}

// scratch: moments are float64; a worker has the sums and squares of a fold, and the guess.
func (k *groupNorm) scratch() (shared, perWorker int) {
	return k.batch * k.width * (4*k.parts + 2), 3 * k.width
}

func (k *groupNorm) run(p *workers, in, out []view, s scratch) error {
	at := k.operands
	k.x = [2][]float32{in[at.X].f32, kernels.Operand(in, at.X2).f32}
	k.weight, k.bias, k.out, k.worker = in[at.Weight].f32, in[at.Bias].f32, out[0].f32, s.worker
	n := k.batch * k.width
	k.moments = unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(s.shared))), n*k.parts*2)
	k.scale, k.shift = s.shared[4*n*k.parts:][:n], s.shared[4*n*k.parts+n:][:n]
	k.pass = (*groupNorm).measure
	p.run(k.batch*k.parts, k)
	k.pass = (*groupNorm).combine
	p.run(k.batch, k)
	k.pass = (*groupNorm).apply
	p.run(k.batch*k.applyParts, k)
	return nil
}

func (k *groupNorm) release() {
	k.x, k.weight, k.bias, k.out = [2][]float32{}, nil, nil, nil
	k.moments, k.scale, k.shift, k.worker = nil, nil, nil, nil
}

func (k *groupNorm) do(w, i int) { k.pass(k, w, i) }

// slice returns the bounds of part i of n.
func slice(n, parts, i int) (lo, hi int) { return n * i / parts, n * (i + 1) / parts }

// measure stores mean and sum of squares about it of every channel over one part of an image.
func (k *groupNorm) measure(w, i int) {
	b, part := i/k.parts, i%k.parts
	lo, hi := slice(k.rows, k.parts, part)
	mean := k.moments[2*i*k.width:][:k.width]
	square := k.moments[(2*i+1)*k.width:][:k.width]
	s := k.worker[w]
	sum32, square32, guess := s[:k.width], s[k.width:][:k.width], s[2*k.width:][:k.width]
	clear(sum32)
	clear(guess)
	step := max(1, (hi-lo)/sampleRows)
	n := 0
	for r := lo; r < hi; r += step {
		k.accumulate(sum32, square32, guess, b*k.rows+r)
		n++
	}
	for c, v := range sum32 {
		guess[c] = v / float32(n)
	}
	clear(mean)
	clear(square)
	for r := lo; r < hi; r += foldRows {
		clear(sum32)
		clear(square32)
		for row := r; row < min(r+foldRows, hi); row++ {
			k.accumulate(sum32, square32, guess, b*k.rows+row)
		}
		for c, v := range sum32 {
			mean[c] += float64(v)
			square[c] += float64(square32[c])
		}
	}
	count := float64(hi - lo)
	for c, sum := range mean {
		mean[c] = float64(guess[c]) + sum/count
		square[c] -= sum * sum / count
	}
}

func (k *groupNorm) accumulate(sum, square, about []float32, row int) {
	at := 0
	for i, n := range k.channels {
		k.v.vec.accumulate(sum[at:at+n], square[at:], k.x[i][row*n:], about[at:])
		at += n
	}
}

// combine turns the moments of image b into the scale and shift of each channel.
func (k *groupNorm) combine(_, b int) {
	per := k.width / k.spec.Groups
	moments := k.moments[2*b*k.parts*k.width:]
	scale, shift := k.scale[b*k.width:][:k.width], k.shift[b*k.width:][:k.width]
	count := float64(k.rows * per)
	for first := 0; first < k.width; first += per {
		mean := 0.0
		for part := range k.parts {
			lo, hi := slice(k.rows, k.parts, part)
			for _, m := range moments[2*part*k.width+first:][:per] {
				mean += float64(hi-lo) * m
			}
		}
		mean /= count
		variance := 0.0
		for part := range k.parts {
			lo, hi := slice(k.rows, k.parts, part)
			squares := moments[(2*part+1)*k.width+first:][:per]
			for c, m := range moments[2*part*k.width+first:][:per] {
				variance += squares[c] + float64(hi-lo)*(m-mean)*(m-mean)
			}
		}
		rstd := 1 / math.Sqrt(max(variance, 0)/count+k.spec.Eps)
		for c := first; c < first+per; c++ {
			f := rstd * float64(k.weight[c])
			scale[c] = float32(f)
			shift[c] = float32(float64(k.bias[c]) - mean*f)
		}
	}
}

// apply computes some rows of the result.
func (k *groupNorm) apply(_, i int) {
	b := i / k.applyParts
	lo, hi := slice(k.rows, k.applyParts, i%k.applyParts)
	scale, shift := k.scale[b*k.width:][:k.width], k.shift[b*k.width:][:k.width]
	for row := b*k.rows + lo; row < b*k.rows+hi; row++ {
		out := k.out[row*k.width:][:k.width]
		at := 0
		for i, n := range k.channels {
			k.v.vec.scaleShift(out[at:at+n], k.x[i][row*n:], scale[at:], shift[at:])
			at += n
		}
		if k.spec.Act == kernels.SiLU {
			k.v.vec.silu(out, out)
		}
	}
}

// layerNorm takes the mean of a row, then the moments about it, then the result, while the row is in the nearest cache.
type layerNorm struct {
	v           *variant
	eps         float64
	operands    kernels.Operands
	rows, width int
	parts       int

	x, weight, bias, out []float32
}

func newLayerNorm(s kernels.LayerNorm, in []kernels.Tensor, v *variant) kernel {
	at := s.Operands()
	width := in[at.Weight].Shape[0]
	rows := in[at.X].Len() / width
	return &layerNorm{v: v, eps: s.Eps, operands: at, rows: rows, width: width, parts: min(rows, divUp(rows*width, partFloats))}
}

func (k *layerNorm) scratch() (shared, perWorker int) { return 0, 0 }

func (k *layerNorm) run(p *workers, in, out []view, _ scratch) error {
	at := k.operands
	k.x, k.weight, k.bias, k.out = in[at.X].f32, in[at.Weight].f32, in[at.Bias].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *layerNorm) release() { k.x, k.weight, k.bias, k.out = nil, nil, nil, nil }

func (k *layerNorm) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	n := float64(k.width)
	for row := lo; row < hi; row++ {
		x, out := k.x[row*k.width:][:k.width], k.out[row*k.width:][:k.width]
		sum, _ := k.v.vec.sums(x, 0)
		mean := float32(float64(sum) / n)
		// What is left of the sum corrects the mean that was rounded.
		left, square := k.v.vec.sums(x, mean)
		rest := float64(left) / n
		rstd := 1 / math.Sqrt(max(float64(square)/n-rest*rest, 0)+k.eps)
		k.v.vec.normalize(out, x, k.weight, k.bias, float32(float64(mean)+rest), float32(rstd))
	}
}
