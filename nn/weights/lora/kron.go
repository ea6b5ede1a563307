package lora

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// kron is LoKr: Δ = f·kron(w1, w2), where w1 is a matrix and w2 has the kernel.
type kron struct {
	tensor
	w1, w2     []float32
	out1, in1  int
	out2, in2k int // in2k: inputs of w2 times kernel
	scale      float32
}

func (k *kron) dependent() bool { return false }

func (k *kron) adder(kernels.Arithmetic) adder {
	return func(dst, _ []float32, first int, f float32) {
		f *= k.scale
		for at := 0; at < len(dst); at += k.cols {
			r := first + at/k.cols
			second := k.w2[r%k.out2*k.in2k:][:k.in2k]
			for i, x := range k.w1[r/k.out2*k.in1:][:k.in1] {
				x *= f
				part := dst[at+i*k.in2k:][:len(second)]
				for j, y := range second {
					part[j] += x * y
				}
			}
		}
	}
}

// kron builds LoKr. Each factor is whole or a product; the second may have a Tucker core.
func (g *group) kron() (delta, error) {
	k := &kron{tensor: g.weight, scale: 1}
	rank := 0
	var err error
	if k.w1, k.out1, rank, err = g.kronFactor(lokrW1, lokrW1A, lokrW1B, "", rank); err != nil {
		return nil, err
	}
	if k.w2, k.out2, rank, err = g.kronFactor(lokrW2, lokrW2A, lokrW2B, lokrT2, rank); err != nil {
		return nil, err
	}
	k.in1, k.in2k = len(k.w1)/k.out1, len(k.w2)/k.out2
	if err := g.fit(g.weight, "weight", lokrW1, len(k.w1)*len(k.w2)); err != nil {
		return nil, err
	}
	if k.out1*k.out2 != g.weight.rows {
		return nil, &misfit{misfitRows(g.stem, k.out1*k.out2, g.weight.shape)}
	}
	if rank > 0 { // where both are whole, alpha does not count
		k.scale, err = g.factor(rank)
	} else if g.has(alpha) {
		g.used[alpha] = true
	}
	return k, err
}

// kronFactor reads a factor that is whole, or the product of two. The rank is that of the last product.
func (g *group) kronFactor(whole, a, b, core part, rank int) (w []float32, outputs, last int, err error) {
	if g.has(whole) {
		m, _, err := g.matrix(whole)
		return m.Floats(), m.Rows, rank, err
	}
	x, xShape, err := g.matrix(a)
	if err != nil {
		return nil, 0, 0, err
	}
	y, yShape, err := g.matrix(b)
	if err != nil {
		return nil, 0, 0, err
	}
	rank = y.Rows
	left, outputs, inner := x.Floats(), x.Rows, x.Cols
	if core != "" && g.has(core) {
		if y, err = g.tucker(core, y, b); err != nil {
			return nil, 0, 0, err
		}
		left, outputs, inner = transposed(left, x.Rows), x.Cols, x.Rows
	}
	if inner != rank {
		return nil, 0, 0, g.errorf(a, "", "shape %v is not of the rank of %s, whose shape is %v", xShape, g.key(b), yShape)
	}
	if n := outputs * y.Cols; n > g.weight.len() { // before it is made, as in tucker
		return nil, 0, 0, &misfit{fmt.Sprintf("%s and %s make %d numbers, but the model's weight has the shape %v", g.key(a), g.key(b), n, g.weight.shape)}
	}
	return product(left, y.Floats(), rank), outputs, rank, nil
}
