package cpu

import "github.com/goxl/goxl/kernels"

// Block sizes. A worker computes a part of the output, at most partRows×partCols, over the whole depth, so that parts
// never wait for each other. The depth is cut into blocks; for each, the worker packs its columns of the weights into a
// panel (400 KB at most), which stays in the level-2 cache (1 MB on the AVX-512 servers this was tuned on) while every
// row of the part passes over it. Within a row group of a tile, the group's slice of A (12 rows × 1.3 KB) stays in the
// level-1 cache while the panel streams past it, at 10 bytes a cycle. partRows is large because packing costs about a
// quarter cycle an element, which partRows/32 cycles of multiplying must outweigh, and no larger because the part's
// sums (650 KB) pass through the cache once for each block of the depth. Narrow outputs take deeper blocks. Where one
// block is the whole depth, a worker packs the weights once for all its parts of the same columns, and keeps sums of one
// row group alone.
const (
	partRows    = 528
	partCols    = 320
	panelFloats = 320 * partCols
	maxDepth    = 640
)

// zeroRow is a row of padding: as long as the k of any tile.
var zeroRow [maxDepth]float32

// block is a part of the depth: channels of one source, all taps of each.
type block struct {
	source   int     // 0: x, 1: x2
	channel  int     // the first one, within the source
	channels int     // at most maxDepth
	column   int     // of the weights
	offsets  []int32 // where in a panel each column of the weights goes: a panel is ordered by tap, then channel (tiling.lanes); the file the other way round
}

// product is a Linear or Conv2d: y = act(A·Wᵀ + bias + rowBias) + residual, or if actLast act(A·Wᵀ + bias + rowBias +
// residual), where row m of A is the window at position m.
type product struct {
	v        *variant
	tiles    tiling
	window   window
	rows     int    // of A
	cols     int    // of the output; the weights have twice as many rows for GEGLU
	channels [2]int // of x and x2
	taps     int
	act      kernels.Activation
	actLast  bool
	blocks   []block
	operands kernels.Operands

	split   split
	workers []productWorker

	// of the run in progress
	in, out []view
	weights weights
	memory  [][]float32
}

// productWorker is what a worker needs besides scratch: pointers, which must lie where the garbage collector sees them.
type productWorker struct {
	args   tileArgs
	rows   []*float32
	packed int      // the column part whose weights the panel holds, plus one; 0: none
	_      [64]byte // workers write theirs all the time: a cache line apart
}

// split is how the output is cut: rows groups of mr and column groups of nr, each shared out evenly.
type split struct {
	workers          int
	rowParts, groups int
	colParts, panels int
}

func (p *product) init() {
	p.window.init()
	p.taps = p.window.kh * p.window.kw
	p.tiles = p.v.gemm.tiling
	if n := p.v.gemm.narrow; p.fits(n) {
		p.tiles = n
	}
	_, panels := p.limits()
	depth := min(panelFloats/(panels*p.halves()*p.tiles.nr), maxDepth)
	if p.tiles.lanes > 1 {
		depth = maxDepth * p.taps // a few columns of any depth are a small panel
	}
	column := 0
	for s, channels := range p.channels {
		if channels == 0 {
			continue
		}
		// Blocks of equal size, of whole vectors where possible, which pack takes without a remainder.
		size := max(depth/p.taps, 1)
		if size >= 16 {
			size = size / 16 * 16
			size = roundUp(divUp(channels, divUp(channels, size)), 16)
		}
		for c := 0; c < channels; c += size {
			n := min(size, channels-c)
			p.blocks = append(p.blocks, block{s, c, n, column, p.offsets(n)})
			column += n * p.taps
		}
	}
}

// fits reports whether narrow tiles, if the variant has them, compute the product in less time: they take whole vectors
// of channels, and up to two of them take less than one wide tile.
func (p *product) fits(narrow tiling) bool {
	return narrow.tile != nil && p.cols <= 2*narrow.nr && p.halves() == 1 &&
		p.channels[0]%narrow.lanes == 0 && p.channels[1]%narrow.lanes == 0
}

// offsets returns the table for a block of n channels, the one of an earlier block if that is the same.
func (p *product) offsets(n int) []int32 {
	for _, b := range p.blocks {
		if b.channels == n {
			return b.offsets
		}
	}
	all, lanes := make([]int32, n*p.taps), p.tiles.lanes
	for i := range all {
		tap, channel := i%p.taps, i/p.taps
		all[i] = int32((tap*n+channel/lanes*lanes)*p.tiles.nr + channel%lanes)
	}
	return all
}

// halves is 2 where each output column is computed from two columns of sums.
func (p *product) halves() int {
	if p.act == kernels.GEGLU {
		return 2
	}
	return 1
}

// limits are the row groups and output panels of the largest part.
func (p *product) limits() (groups, panels int) {
	t := &p.tiles
	return min(divUp(p.rows, t.mr), partRows/t.mr), min(divUp(p.cols, t.nr), max(partCols/t.nr/p.halves(), 1))
}

// sizes are the lengths of a worker's scratch for parts of so many row groups and panels, each a multiple of 16.
func (p *product) sizes() (panel, sums, bias, table int) {
	t := &p.tiles
	groups, panels := p.limits()
	depth := 0
	for _, b := range p.blocks {
		depth = max(depth, len(b.offsets))
	}
	cols, rows := panels*p.halves()*t.nr, t.mr
	if len(p.blocks) > 1 { // sums of all rows wait for the next block
		rows *= groups
	}
	return roundUp(depth*cols, 16), roundUp(rows*cols, 16), roundUp(cols, 16), roundUp(groups*t.mr*p.taps, 16)
}

func (p *product) scratch() (shared, perWorker int) {
	a, b, c, d := p.sizes()
	return 0, a + b + c + d
}

// prepare chooses the split for a number of workers: the one whose slowest worker has least to do.
func (p *product) prepare(workers int) {
	if p.split.workers == workers {
		return
	}
	t := &p.tiles
	s := split{workers: workers, groups: divUp(p.rows, t.mr), panels: divUp(p.cols, t.nr)}
	groups, panels := p.limits()
	best := -1
	for rowParts := divUp(s.groups, groups); rowParts <= min(divUp(s.groups, groups)+workers, s.groups); rowParts++ {
		for colParts := divUp(s.panels, panels); colParts <= min(divUp(s.panels, panels)+workers, s.panels); colParts++ {
			rounds := divUp(rowParts*colParts, workers)
			rows, cols := divUp(s.groups, rowParts)*t.mr, divUp(s.panels, colParts)*t.nr
			// Multiplying, packing weights and finding rows, in units of one multiplication a lane.
			cost := rounds * (rows*cols + 8*cols + 4*rows)
			if best < 0 || cost < best {
				best, s.rowParts, s.colParts = cost, rowParts, colParts
			}
		}
	}
	p.split = s
	p.workers = make([]productWorker, workers)
	for w := range p.workers {
		p.workers[w].rows = make([]*float32, p.taps*t.mr)
	}
}

func (p *product) run(workers *workers, in, out []view, s scratch) error {
	p.prepare(workers.count())
	p.in, p.out, p.memory = in, out, s.worker
	depth := (p.channels[0] + p.channels[1]) * p.taps
	p.weights = in[p.operands.Weight].weights(depth)
	p.reach()
	for w := range p.workers {
		p.workers[w].packed = 0
	}
	workers.run(p.split.rowParts*p.split.colParts, p)
	return nil
}

func (p *product) release() {
	p.in, p.out, p.memory, p.weights = nil, nil, nil, weights{}
	releaseWorkers(p.workers)
}

// releaseWorkers lets go of what the workers point to.
func releaseWorkers(all []productWorker) {
	for w := range all {
		clear(all[w].rows)
		all[w].args = tileArgs{}
	}
}

// reach checks that the sources are as large as their shapes say: what the table of a part says is then addressed without
// bounds checks.
func (p *product) reach() {
	pixels := p.rows / p.window.positions * p.window.h * p.window.w
	_ = p.in[p.operands.X].f32[:pixels*p.channels[0]]
	if p.operands.X2 != kernels.Absent {
		_ = p.in[p.operands.X2].f32[:pixels*p.channels[1]]
	}
}

// input returns the elements of an operand, nil if it is absent.
func (p *product) input(at int) []float32 { return kernels.Operand(p.in, at).f32 }
