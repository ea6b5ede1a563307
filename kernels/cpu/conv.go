package cpu

import "github.com/goxl/goxl/kernels"

// newConv2d returns the kernel of a Conv2d: a product whose rows are windows of the image, read in place. Padding,
// stride, nearest-neighbour resizing and the second source of a concatenation are matters of where a row's taps point.
func newConv2d(s kernels.Conv2d, in, out []kernels.Tensor, v *variant) kernel {
	p := &product{v: v, act: s.Act, actLast: s.ActLast, operands: s.Operands()}
	x, weight, y := in[p.operands.X].Shape, in[p.operands.Weight].Shape, out[0].Shape
	p.rows, p.cols = y[0]*y[1]*y[2], y[3]
	p.channels = [2]int{x[3], weight[1] - x[3]}
	p.window = window{
		h: x[1], w: x[2], upH: x[1], upW: x[2], outH: y[1], outW: y[2],
		kh: weight[2], kw: weight[3], stride: s.Stride, padTop: s.Pad.Top, padLeft: s.Pad.Left,
	}
	if s.UpH > 0 {
		p.window.upH, p.window.upW = s.UpH, s.UpW
	}
	p.init()
	return p
}
