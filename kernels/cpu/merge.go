package cpu

import (
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// A part of a merge is mergeRows×mergeColumns elements at most: what it reads and writes of a row is long enough to
// come from memory at speed, which counts for more than that all sums of a tile's rows stay in the level-1 cache. The
// columns of Down that it needs, mergeFloats at most, stay in the level-2 cache.
const (
	mergeRows    = 480
	mergeColumns = 1280
	mergeFloats  = 128 << 10
)

// merger adds low-rank products to tensors; see kernels.LowRank. Sums begin with the tensor's element; to it come, one
// after another, the sums of the terms of each product, of maxDepth terms of it at most. It is for one goroutine, which
// holds the engine's mutex.
type merger struct {
	device  *Device
	workers []mergeWorker
	wide    [][2][]float32 // memory for the factors of each product in float32

	// of the merge in progress
	dst, src      weights
	rows, columns int
	factors       []factor
	depth         int // of all factors
	panels        int // of nr columns in a part
	rowParts      int
}

// factor is a product, or a part of its depth.
type factor struct {
	up    []float32 // row i is scaled, and begins at i·pitch
	pitch int
	down  []float32 // [k, columns]
	k     int
}

type mergeWorker struct {
	args        tileArgs
	rows        []*float32
	sums, panel []float32
	_           [64]byte // workers write theirs all the time: a cache line apart
}

// merge computes dst from src; they do not overlap.
func (m *merger) merge(dst, src view, products []kernels.LowRank) error {
	g, workers := m.device.variant.gemm, m.device.workers
	m.rows, m.columns = kernels.Matrix(src.shape)
	m.dst, m.src = dst.weights(m.columns), src.weights(m.columns)
	m.factors, m.depth = m.factors[:0], 0
	if more := len(products) - len(m.wide); more > 0 {
		m.wide = append(m.wide, make([][2][]float32, more)...)
	}
	for i, p := range products {
		wide := &m.wide[i]
		wide[0], wide[1] = grown16(wide[0], p.Up.Len()), grown16(wide[1], p.Down.Len())
		up, down := wide[0][:p.Up.Len()], wide[1][:p.Down.Len()]
		g.widenBytes(up, p.Up.DType, p.Up.Data)
		g.widenBytes(down, p.Down.DType, p.Down.Data)
		g.scaled(up, up, p.Scale)
		for from := 0; from < p.Rank; from += maxDepth {
			k := min(maxDepth, p.Rank-from)
			m.factors = append(m.factors, factor{up: up[from:], pitch: p.Rank, down: down[from*m.columns : (from+k)*m.columns], k: k})
		}
		m.depth += p.Rank
	}
	m.panels = min(max(min(mergeColumns, mergeFloats/max(m.depth, 1))/g.nr, 1), divUp(m.columns, g.nr))
	if m.workers == nil {
		m.workers = make([]mergeWorker, workers.count())
	}
	for i := range m.workers {
		w := &m.workers[i]
		w.rows = make([]*float32, g.mr)
		w.sums = grown16(w.sums, g.mr*m.panels*g.nr)
		w.panel = grown16(w.panel, m.depth*m.panels*g.nr)
	}
	m.rowParts = divUp(m.rows, mergeRows)
	workers.run(m.rowParts*divUp(m.columns, m.panels*g.nr), m)
	return workers.failure()
}

// grown16 returns n float32 at least, x if that has them.
func grown16(x []float32, n int) []float32 {
	if len(x) >= n {
		return x
	}
	return alignedFloats(n)
}

// do implements task.
func (m *merger) do(worker, part int) {
	g, w := m.device.variant.gemm, &m.workers[worker]
	width := m.panels * g.nr
	row, col := part%m.rowParts*mergeRows, part/m.rowParts*width
	end, cols := min(row+mergeRows, m.rows), min(width, m.columns-col)
	m.gather(w.panel, col, cols)
	for ; row < end; row += g.mr {
		rows := min(g.mr, end-row)
		for i := range rows {
			m.widen(w.sums[i*width:][:cols], (row+i)*m.columns+col)
		}
		panel := w.panel
		for f := range m.factors {
			f := &m.factors[f]
			for i := range w.rows {
				w.rows[i] = &zeroRow[0]
				if i < rows {
					w.rows[i] = unsafe.SliceData(f.up[(row+i)*f.pitch:][:f.k])
				}
			}
			w.args = tileArgs{ldc: width, rows: &w.rows[0], taps: 1, k: f.k, accumulate: 1}
			for j := 0; j < cols; j += g.nr {
				w.args.c = &w.sums[j]
				w.args.b = unsafe.SliceData(panel[:f.k*g.nr])
				panel = panel[f.k*g.nr:]
				g.tile(&w.args)
			}
		}
		for i := range rows {
			m.narrow((row+i)*m.columns+col, w.sums[i*width:][:cols])
		}
	}
}

// gather copies columns of every factor's Down to panels.
func (m *merger) gather(panel []float32, col, cols int) {
	for _, f := range m.factors {
		panel = m.device.variant.gemm.gatherPanels(panel, f.down, f.k, m.columns, col, cols)
	}
}

// gatherPanels copies columns of k rows of src, which are so many numbers apart, to panels of nr columns, the last one
// filled up with zeros. It returns what is behind them.
func (g *gemmKernels) gatherPanels(panel, src []float32, k, pitch, col, cols int) []float32 {
	for j := 0; j < cols; j += g.nr {
		to := panel[:k*g.nr]
		panel = panel[k*g.nr:]
		if cols-j >= g.nr {
			from := src[col+j : (k-1)*pitch+col+j+g.nr]
			g.gather(&to[0], &from[0], 4*pitch, k)
			continue
		}
		clear(to)
		for r := range k {
			copy(to[r*g.nr:], src[r*pitch+col+j:][:cols-j])
		}
	}
	return panel
}

// widen reads elements of the tensor as it was, from number at on.
func (m *merger) widen(dst []float32, at int) {
	n := len(dst)
	if m.src.dtype == kernels.F32 {
		copy(dst, m.src.f32[at:][:n])
		return
	}
	g := m.device.variant.gemm
	widen := g.widenF16
	if m.src.dtype == kernels.BF16 {
		widen = g.widenBF16
	}
	src := m.src.u16[at:][:n]
	whole := n / (g.nr / 2) * (g.nr / 2)
	if whole > 0 {
		widen(&dst[0], &src[0], whole)
	}
	for i := whole; i < n; i++ {
		dst[i] = m.src.at(at + i)
	}
}

// narrow writes elements of the merged tensor, from number at on.
func (m *merger) narrow(at int, src []float32) {
	n := len(src)
	if m.dst.dtype == kernels.F32 {
		copy(m.dst.f32[at:][:n], src)
		return
	}
	g := m.device.variant.gemm
	narrow, round := g.narrowF16, kernels.ToF16
	if m.dst.dtype == kernels.BF16 {
		narrow, round = g.narrowBF16, kernels.ToBF16
	}
	dst := m.dst.u16[at:][:n]
	whole := n / (g.nr / 2) * (g.nr / 2)
	if whole > 0 {
		narrow(&dst[0], &src[0], whole)
	}
	for i := whole; i < n; i++ {
		dst[i] = round(src[i])
	}
}
