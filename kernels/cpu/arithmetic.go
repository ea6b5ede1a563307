package cpu

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// arithmetic implements kernels.Arithmetic by the kernels of a variant. It needs neither the workers nor the engine's
// mutex: whoever calls it is one of the caller's own goroutines.
type arithmetic struct {
	gemm    *gemmKernels
	scratch sync.Pool // of *productScratch
}

// Arithmetic is what the device lends to sources that compute, see [kernels.Computed]. It may be used without it too.
func (d *Device) Arithmetic() kernels.Arithmetic { return d.arithmetic }

func newArithmetic(g *gemmKernels) *arithmetic {
	a := &arithmetic{gemm: g}
	a.scratch.New = func() any { return &productScratch{rows: make([]*float32, g.mr), edge: alignedFloats(g.mr * g.nr)} }
	return a
}

// productScratch is what a product needs beside its operands.
type productScratch struct {
	args            tileArgs
	rows            []*float32
	up, panel, edge []float32
}

// AddProduct implements kernels.Arithmetic. The depth is cut as in [merger].
func (a *arithmetic) AddProduct(dst, up, down []float32, rank int, scale float32) {
	if rank <= 0 || len(up) < rank || len(down) < rank {
		return
	}
	g, rows, cols := a.gemm, len(up)/rank, len(down)/rank
	dst = dst[:rows*cols]
	s := a.scratch.Get().(*productScratch)
	defer func() {
		clear(s.rows) // they point into the caller's numbers
		s.args = tileArgs{}
		a.scratch.Put(s)
	}()
	if scale != 1 {
		s.up = grown16(s.up, rows*rank)
		g.scaled(s.up[:rows*rank], up, scale)
		up = s.up
	}
	width := max(min(mergeColumns, mergeFloats/min(rank, maxDepth))/g.nr, 1) * g.nr
	for from := 0; from < rank; from += maxDepth {
		k := min(maxDepth, rank-from)
		for col := 0; col < cols; col += width {
			n := min(width, cols-col)
			s.panel = grown16(s.panel, k*roundUp(n, g.nr))
			g.gatherPanels(s.panel, down[from*cols:], k, cols, col, n)
			for row := 0; row < rows; row += g.mr {
				count := min(g.mr, rows-row)
				for i := range s.rows {
					s.rows[i] = &zeroRow[0]
					if i < count {
						s.rows[i] = unsafe.SliceData(up[(row+i)*rank+from:][:k])
					}
				}
				a.addTiles(s, dst[row*cols+col:], cols, count, n, k)
			}
		}
	}
}

// addTiles adds one row group of a product, of so many rows and columns and of depth k, to rows of dst that are pitch
// numbers apart.
func (a *arithmetic) addTiles(s *productScratch, dst []float32, pitch, rows, cols, k int) {
	g := a.gemm
	for j := 0; j < cols; j += g.nr {
		s.args = tileArgs{rows: &s.rows[0], taps: 1, k: k, b: unsafe.SliceData(s.panel[j*k:][:k*g.nr]), accumulate: 1}
		if rows == g.mr && cols-j >= g.nr {
			s.args.c, s.args.ldc = unsafe.SliceData(dst[j:(g.mr-1)*pitch+j+g.nr]), pitch
			g.tile(&s.args)
			continue
		}
		n := min(g.nr, cols-j)
		for i := range rows {
			copy(s.edge[i*g.nr:][:n], dst[i*pitch+j:])
		}
		s.args.c, s.args.ldc = &s.edge[0], g.nr
		g.tile(&s.args)
		for i := range rows {
			copy(dst[i*pitch+j:][:n], s.edge[i*g.nr:])
		}
	}
}

// Widen implements kernels.Arithmetic.
func (a *arithmetic) Widen(dst []float32, dtype kernels.DType, src []byte) {
	a.gemm.widenBytes(dst, dtype, src)
}

// Round implements kernels.Arithmetic.
func (a *arithmetic) Round(dst []byte, dtype kernels.DType, src []float32) {
	a.gemm.narrowBytes(dst, dtype, src)
}

// widenBytes widens numbers that may lie anywhere.
func (g *gemmKernels) widenBytes(dst []float32, dtype kernels.DType, src []byte) {
	n := len(dst)
	if n == 0 {
		return
	}
	f := kernels.Factor{DType: dtype, Data: src[:n*dtype.Size()]}
	first := unsafe.Pointer(&f.Data[0])
	whole := n / (g.nr / 2) * (g.nr / 2)
	switch dtype {
	case kernels.F32:
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 4*n), f.Data)
		return
	case kernels.F16:
		if whole > 0 {
			g.widenF16(&dst[0], (*uint16)(first), whole)
		}
	case kernels.BF16:
		if whole > 0 {
			g.widenBF16(&dst[0], (*uint16)(first), whole)
		}
	}
	for i := whole; i < n; i++ {
		dst[i] = f.At(i)
	}
}

// narrowBytes rounds numbers to bytes that may lie anywhere.
func (g *gemmKernels) narrowBytes(dst []byte, dtype kernels.DType, src []float32) {
	n := len(src)
	if n == 0 {
		return
	}
	dst = dst[:n*dtype.Size()]
	if dtype == kernels.F32 {
		copy(dst, unsafe.Slice((*byte)(unsafe.Pointer(&src[0])), 4*n))
		return
	}
	narrow, round := g.narrowF16, kernels.ToF16
	if dtype == kernels.BF16 {
		narrow, round = g.narrowBF16, kernels.ToBF16
	}
	whole := n / (g.nr / 2) * (g.nr / 2)
	if whole > 0 {
		narrow((*uint16)(unsafe.Pointer(&dst[0])), &src[0], whole)
	}
	for i := whole; i < n; i++ {
		binary.LittleEndian.PutUint16(dst[2*i:], round(src[i]))
	}
}
