package cpu

import "github.com/goxl/goxl/kernels"

// direct returns how many of the columns from col the tiles of a whole row group finish themselves, and what bias they
// add: all whole tiles, unless the rows have several biases or the activation is none that tiles know.
func (p *product) direct(biasOf []float32, row, col, cols int) (width int, bias []float32) {
	t := &p.tiles
	switch {
	case p.act != kernels.Identity && p.act != kernels.ReLU,
		p.act == kernels.ReLU && p.operands.Residual != kernels.Absent && !p.actLast,
		p.operands.BroadcastBias != kernels.Absent && row%p.window.positions+t.mr > p.window.positions:
		return 0, nil
	}
	return cols / t.nr * t.nr, p.bias(biasOf, row, col, cols)
}

// target makes a tile finish its sums itself: those of mr rows from row and of nr columns from col+j. bias, if
// it is not nil, begins with col's.
func (p *product) target(a *tileArgs, bias []float32, row, col, j int) {
	t := &p.tiles
	from := row*p.cols + col + j
	end := from + (t.mr-1)*p.cols + t.nr
	a.out, a.ldo, a.bias, a.residual, a.relu = &p.out[0].f32[from:end][0], p.cols, nil, nil, 0
	if bias != nil {
		a.bias = &bias[j : j+t.nr][0]
	}
	if residual := p.input(p.operands.Residual); residual != nil {
		a.residual = &residual[from:end][0]
	}
	if p.act == kernels.ReLU {
		a.relu = 1
	}
}

// epilogue finishes the sums of rows, which are in the cache, and writes them out. gate is where in a row the gates of
// GEGLU are. It overwrites the first cols elements of biasOf where there is a broadcast bias.
func (p *product) epilogue(c []float32, ldc, gate, row, col, rows, cols int, biasOf []float32) {
	residual := p.input(p.operands.Residual)
	var bias, gateBias, rest []float32
	if p.act == kernels.GEGLU {
		gateBias = p.bias(nil, row, p.cols+col, cols)
	}
	for r := range rows {
		if r == 0 || (row+r)%p.window.positions == 0 {
			bias = p.bias(biasOf, row+r, col, cols)
		}
		at := (row+r)*p.cols + col
		if residual != nil {
			rest = residual[at:][:cols]
		}
		sums := c[r*ldc : (r+1)*ldc]
		p.finishRow(p.out[0].f32[at:at+cols], sums[:cols], sums[gate:], bias, gateBias, rest)
	}
}

// bias returns what is added to cols columns of a row, nil if nothing is: the bias, or its sum with the broadcast bias of
// the row's image, which it writes to sum.
func (p *product) bias(sum []float32, row, col, cols int) []float32 {
	bias, broadcast := p.input(p.operands.Bias), p.input(p.operands.BroadcastBias)
	if bias != nil {
		bias = bias[col:][:cols]
	}
	if broadcast == nil {
		return bias
	}
	sum = sum[:cols]
	p.v.gemm.finish(sum, broadcast[row/p.window.positions*p.cols+col:][:cols], bias, nil)
	return sum
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
	case kernels.LeakyReLU:
		vec.leakyReLU(to, sums)
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
