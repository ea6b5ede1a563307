package cpu

import (
	"math"

	"github.com/goxl/goxl/kernels"
)

// toPixels rounds values to bytes, some pixels a part.
type toPixels struct {
	noScratch
	pixels, parts int
	x             []float32
	out           []uint8
}

func newToPixels(in []kernels.Tensor) kernel {
	n := in[0].Len() / 3
	return &toPixels{pixels: n, parts: rowwise(n, 4)}
}

func (k *toPixels) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.out = in[0].f32, out[0].u8
	p.run(k.parts, k)
	return nil
}

func (k *toPixels) release() { k.x, k.out = nil, nil }

func (k *toPixels) do(_, i int) {
	lo, hi := slice(k.pixels, k.parts, i)
	for i := lo; i < hi; i++ {
		x, out := k.x[3*i:][:3], k.out[4*i:][:4]
		for c, v := range x {
			v = min(max(float32(v*0.5)+0.5, 0), 1)
			out[c] = uint8(math.RoundToEven(float64(float32(v * 255))))
		}
		out[3] = 255
	}
}

// fromPixels looks bytes up in a table of their 256 values.
type fromPixels struct {
	noScratch
	values        [256]float32
	pixels, parts int
	v             []uint8
	out           []float32
}

func newFromPixels(in []kernels.Tensor) kernel {
	n := in[0].Len() / 4
	k := &fromPixels{pixels: n, parts: rowwise(n, 4)}
	for i := range k.values {
		k.values[i] = float32(2*(float32(i)/255)) - 1
	}
	return k
}

func (k *fromPixels) run(p *workers, in, out []view, _ scratch) error {
	k.v, k.out = in[0].u8, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *fromPixels) release() { k.v, k.out = nil, nil }

func (k *fromPixels) do(_, i int) {
	lo, hi := slice(k.pixels, k.parts, i)
	for i := lo; i < hi; i++ {
		for c, v := range k.v[4*i:][:3] {
			k.out[3*i+c] = k.values[v]
		}
	}
}
