package cpu

import "github.com/goxl/goxl/kernels"

// epilogue finishes the sums of a part, which are in the cache, and writes them out. gate is where in a row the gates
// of GEGLU are.
func (p *product) epilogue(c []float32, ldc, gate, row, col, rows, cols int, biasOf []float32) {
	bias, broadcastBias, residual := p.input(p.operands.Bias), p.input(p.operands.BroadcastBias), p.input(p.operands.Residual)
	gateBias := bias
	if bias != nil && p.act == kernels.GEGLU {
		gateBias = bias[p.cols+col:][:cols]
	}
	if bias != nil {
		bias = bias[col:][:cols]
	}
	image := -1
	var rest []float32
	for r := range rows {
		if m := row + r; broadcastBias != nil && m/p.window.positions != image {
			image = m / p.window.positions
			p.v.gemm.finish(biasOf[:cols], broadcastBias[image*p.cols+col:][:cols], bias, nil)
		}
		both := bias
		if broadcastBias != nil {
			both = biasOf[:cols]
		}
		at := (row+r)*p.cols + col
		if residual != nil {
			rest = residual[at:][:cols]
		}
		sums := c[r*ldc : (r+1)*ldc]
		p.finishRow(p.out[0].f32[at:at+cols], sums[:cols], sums[gate:], both, gateBias, rest)
	}
}

// finishRow computes one row of the output from its sums, which it may overwrite.
func (p *product) finishRow(dst, sums, gates, bias, gateBias, residual []float32) {
	g, vec := p.v.gemm, p.v.vec
	if p.act == kernels.Identity {
		g.finish(dst, sums, bias, residual)
		return
	}
	to := dst
	switch {
	case p.actLast:
		g.finish(sums, sums, bias, residual)
	case bias != nil:
		g.finish(sums, sums, bias, nil)
	}
	if residual != nil && !p.actLast {
		to = sums // dst may be the residual
	}
	switch p.act {
	case kernels.SiLU:
		vec.silu(to, sums)
	case kernels.GELU:
		vec.gelu(to, sums)
	case kernels.QuickGELU:
		vec.quickGELU(to, sums)
	case kernels.ReLU:
		vec.relu(to, sums)
	case kernels.SoftClamp:
		vec.softClamp(to, sums)
	case kernels.GEGLU:
		gates = gates[:len(sums)]
		if gateBias != nil {
			g.finish(gates, gates, gateBias, nil)
		}
		vec.geglu(to, sums, gates)
	}
	if residual != nil && !p.actLast {
		g.finish(dst, sums, residual, nil)
	}
}
