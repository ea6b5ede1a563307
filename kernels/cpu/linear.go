package cpu

import "github.com/goxl/goxl/kernels"

// newLinear returns the kernel of a Linear: dot products with the weights as they lie in the file for a few rows of each
// sample, else a blocked product. The two sum in another order, so that the number of samples must not choose.
func newLinear(s kernels.Linear, in, out []kernels.Tensor, v *variant) kernel {
	at := s.Operands()
	depth := in[at.Weight].Shape[1]
	p := &product{
		v: v, rows: in[at.X].Len() / depth, cols: out[0].Shape[len(out[0].Shape)-1],
		channels: [2]int{depth}, act: s.Act, operands: at,
	}
	p.window = window{h: 1, w: p.rows, upH: 1, upW: p.rows, outH: 1, outW: p.rows, kh: 1, kw: 1, stride: 1}
	p.init()
	if p.rows/in[at.X].Shape[0] <= skinnyRows && p.rows <= skinnyBatch {
		return &skinny{product: p}
	}
	return p
}
