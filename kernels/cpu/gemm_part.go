package cpu

import "unsafe"

// do computes part i. Parts of the same columns follow each other, so that their weights are read from memory once.
func (p *product) do(w, i int) {
	g, s := p.v.gemm, p.split
	rowPart, colPart := i%s.rowParts, i/s.rowParts
	group, panel := rowPart*s.groups/s.rowParts, colPart*s.panels/s.colParts
	groups, panels := (rowPart+1)*s.groups/s.rowParts-group, (colPart+1)*s.panels/s.colParts-panel
	row, col := group*g.mr, panel*g.nr
	rows, cols := min(groups*g.mr, p.rows-row), min(panels*g.nr, p.cols-col)

	panelSize, sumSize, biasSize, tableSize := p.sizes()
	mem := p.memory[w]
	b, mem := mem[:panelSize], mem[panelSize:]
	c, mem := mem[:sumSize], mem[sumSize:]
	biasOf, mem := mem[:biasSize], mem[biasSize:]
	table := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(mem[:tableSize]))), tableSize)

	p.window.locate(table, g.mr, row, rows)
	ldc := panels * p.halves() * g.nr
	state := &p.workers[w]
	for n := range p.blocks {
		block, last := &p.blocks[n], n == len(p.blocks)-1
		k := len(block.offsets)
		if len(p.blocks) > 1 || state.packed != colPart+1 {
			p.pack(b, block, panels, col, cols)
			state.packed = colPart + 1
		}
		state.args = tileArgs{ldc: ldc, rows: &state.rows[0], taps: p.taps, k: block.channels, accumulate: min(n, 1)}
		for r := 0; r < groups*g.mr; r += g.mr {
			p.point(state.rows, table[r*p.taps:], block)
			sums := c[:g.mr*ldc]
			if len(p.blocks) > 1 {
				sums = c[r*ldc : (r+g.mr)*ldc]
			}
			direct, bias := 0, []float32(nil) // of columns that the tiles finish
			if last && rows-r >= g.mr {
				direct, bias = p.direct(biasOf, row+r, col, cols)
			}
			for j := 0; j < ldc; j += g.nr {
				state.args.c = &sums[j]
				state.args.b = unsafe.SliceData(b[j*k : j*k+k*g.nr])
				state.args.out = nil
				if j < direct {
					p.target(&state.args, bias, row+r, col, j)
				}
				state.args.ahead = 0
				if j == ldc-g.nr {
					state.args.ahead = p.ahead(block)
				}
				g.tile(&state.args)
			}
			if last && direct < cols {
				p.epilogue(sums[direct:], ldc, panels*g.nr, row+r, col+direct, min(g.mr, rows-r), cols-direct, biasOf)
			}
		}
	}
}

// pack fills the panels of a part's columns with their weights.
func (p *product) pack(b []float32, block *block, panels, col, cols int) {
	g, k := p.v.gemm, len(block.offsets)
	for h := range p.halves() {
		for j := range panels {
			first := j * g.nr
			g.pack(b[(h*panels+j)*k*g.nr:], &p.weights, h*p.cols+col+first, min(g.nr, cols-first), block.column, block.offsets)
		}
	}
}

// point fills the row pointers of one row group from its part of the table.
func (p *product) point(rows []*float32, table []int32, b *block) {
	x := p.in[p.operands.X].f32
	if b.source == 1 {
		x = p.in[p.operands.X2].f32
	}
	channels := p.channels[b.source]
	base := unsafe.Pointer(&x[b.channel])
	table = table[:len(rows)]
	for i := range rows {
		if pixel := int(table[i]); pixel >= 0 {
			rows[i] = (*float32)(unsafe.Add(base, 4*pixel*channels))
		} else {
			rows[i] = &zeroRow[0]
		}
	}
}

// ahead is how far, in bytes, the rows of the next row group are from those of a group, where they lie in one line of the
// image.
func (p *product) ahead(b *block) int {
	w := &p.window
	return 4 * p.v.gemm.mr * w.stride * w.w / w.upW * p.channels[b.source]
}
