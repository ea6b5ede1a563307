package cpu

import "github.com/goxl/goxl/kernels"

// newLinear returns the kernel of a Linear: dot products with the weights as they lie in the file for a few rows, else a blocked product.
func newLinear(s kernels.Linear, in, out []kernels.Tensor, v *variant) kernel {
	depth := in[1].Shape[1]
	p := &product{
		v: v, rows: in[0].Len() / depth, cols: out[0].Shape[len(out[0].Shape)-1],
		channels: [2]int{depth}, act: s.Act,
	}
	p.window = window{h: 1, w: p.rows, upH: 1, upW: p.rows, outH: 1, outW: p.rows, kh: 1, kw: 1, stride: 1}
	o := &p.operands
	o.weight, o.x2, o.rowBias = 1, -1, -1
	next := optional(2)
	o.bias, o.residual = next(s.Bias), next(s.Residual)
	p.init()
	if p.rows <= skinnyRows {
		return &skinny{product: p}
	}
	return p
}

// optional hands out the indices of inputs from first on: the next one for a present input, −1 for an absent one.
func optional(first int) func(present bool) int {
	return func(present bool) int {
		if !present {
			return -1
		}
		first++
		return first - 1
	}
}
