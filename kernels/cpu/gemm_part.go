package cpu

import "unsafe"

// do computes part i. Parts of the same columns follow each other, so that their weights are read from memory once.
func (p *product) do(w, i int) {
	t, s := &p.tiles, p.split
	rowPart, colPart := i%s.rowParts, i/s.rowParts
	group, panel := rowPart*s.groups/s.rowParts, colPart*s.panels/s.colParts
	groups, panels := (rowPart+1)*s.groups/s.rowParts-group, (colPart+1)*s.panels/s.colParts-panel
	row, col := group*t.mr, panel*t.nr
	rows, cols := min(groups*t.mr, p.rows-row), min(panels*t.nr, p.cols-col)

	panelSize, sumSize, biasSize, tableSize := p.sizes()
	mem := p.memory[w]
	b, mem := mem[:panelSize], mem[panelSize:]
	c, mem := mem[:sumSize], mem[sumSize:]
	biasOf, mem := mem[:biasSize], mem[biasSize:]
	table := unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(mem[:tableSize]))), tableSize)

	p.window.locate(table, t.mr, row, rows)
	ldc := panels * p.halves() * t.nr
	state := &p.workers[w]
	for n := range p.blocks {
		block, last := &p.blocks[n], n == len(p.blocks)-1
		k := len(block.offsets)
		if len(p.blocks) > 1 || state.packed != colPart+1 {
			p.pack(b, block, panels, col, cols)
			state.packed = colPart + 1
		}
		state.args = tileArgs{ldc: ldc, rows: &state.rows[0], taps: p.taps, k: block.channels, accumulate: min(n, 1)}
		for r := 0; r < groups*t.mr; r += t.mr {
			p.point(state.rows, table[r*p.taps:], block)
			sums := c[:t.mr*ldc]
			if len(p.blocks) > 1 {
				sums = c[r*ldc : (r+t.mr)*ldc]
			}
			direct, bias := 0, []float32(nil) // of columns that the tiles finish
			if last && rows-r >= t.mr {
				direct, bias = p.direct(biasOf, row+r, col, cols)
			}
			for j := 0; j < ldc; j += t.nr {
				state.args.c = &sums[j]
				state.args.b = unsafe.SliceData(b[j*k : j*k+k*t.nr])
				state.args.out = nil
				if j < direct {
					p.target(&state.args, bias, row+r, col, j)
				}
				state.args.ahead = 0
				if j == ldc-t.nr {
					state.args.ahead = p.ahead(block)
				}
				t.tile(&state.args)
			}
			if last && direct < cols {
				p.epilogue(sums[direct:], ldc, panels*t.nr, row+r, col+direct, min(t.mr, rows-r), cols-direct, biasOf)
			}
		}
	}
}

// pack fills the panels of a part's columns with their weights.
func (p *product) pack(b []float32, block *block, panels, col, cols int) {
	g, t, k := p.v.gemm, &p.tiles, len(block.offsets)
	pack := g.pack
	if t.lanes > 1 {
		pack = t.packVectors
	}
	for h := range p.halves() {
		for j := range panels {
			first := j * t.nr
			pack(b[(h*panels+j)*k*t.nr:], &p.weights, h*p.cols+col+first, min(t.nr, cols-first), block.column, block.offsets)
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
// image. It is 0, so that nothing is fetched, where the rows of a group already share sets of the level-1 cache, which
// repeats every 4 KB.
func (p *product) ahead(b *block) int {
	w, pitch := &p.window, 4*p.channels[b.source]
	if pitch%4096 == 0 {
		return 0
	}
	return p.tiles.mr * w.stride * w.w / w.upW * pitch
}
