package cpu

import (
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

//go:generate go run ./_gen

// gemmKernels are the inner loops of matrix products for one instruction set. Their arguments are raw: the callers in
// this package slice every operand to the length used before they take its address.
type gemmKernels struct {
	tiling
	// narrow is for products of a few columns, if the set has it.
	narrow tiling

	// packRows is how many rows of weights the pack functions transpose at once, and what their k is a multiple of.
	packRows int
	// dotK is what the dot functions' k is a multiple of.
	dotK int

	// packF32, packF16 and packBF16 widen and transpose packRows rows of weights: element j of row r, which starts at
	// src + r·ld bytes, goes to dst[offsets[j]+r] for j < k.
	packF32, packF16, packBF16 func(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

	// dotF32, dotF16 and dotBF16 add the products of one row a with four rows of weights, ld bytes apart, to dst[0…3].
	dotF32, dotF16, dotBF16 func(dst, a *float32, w unsafe.Pointer, ld, k int)

	// gather copies k ≥ 1 rows of nr elements, ld bytes apart, to a panel.
	gather func(dst, src *float32, ld, k int)

	// widenF16 and widenBF16 are dst = src for n elements, a multiple of nr/2; narrowF16 and narrowBF16 round to nearest
	// even.
	widenF16, widenBF16   func(dst *float32, src *uint16, n int)
	narrowF16, narrowBF16 func(dst *uint16, src *float32, n int)

	// combine is dst = c [+ bias] [+ residual] for n elements, with nil for what is absent; dst may be one of the
	// operands.
	combine func(dst, c, bias, residual *float32, n int)

	// scale is dst = f·src for n elements; dst may be src.
	scale func(dst, src *float32, f float32, n int)

	// fmaPeak does fmaFLOPs floating point operations an iteration in registers, as fast as the core can.
	fmaPeak  func(iterations int)
	fmaFLOPs int
}

// tiling is a way to cut a product into tiles.
type tiling struct {
	mr, nr int // rows and columns of a tile
	// lanes is how many k lie side by side in a panel, of which a tile's k is a multiple: a panel has for each tap and
	// lanes of k a vector of lanes elements for each of the nr columns.
	lanes int
	// tile computes mr×nr of a product.
	tile func(a *tileArgs)
}

// tileArgs are the operands of a tile: C (+)= Σ over taps of A·B. The rows of A are wherever rows points, so that a
// convolution reads its image in place and a row of padding is a row of zeros. Where out is not nil, the tile finishes
// its sums and writes them there, and C stays as it is: out = act(sums [+ bias] [+ residual]), with ReLU or nothing as
// the activation.
type tileArgs struct {
	c          *float32 // mr rows of nr, ldc elements apart
	ldc        int
	rows       **float32 // for each tap mr pointers to k elements
	taps       int
	k          int
	b          *float32 // packed panel: nr·k·taps elements
	accumulate int      // 0: the sums begin with zero, 1: with C
	ahead      int      // bytes from each row of A to what is fetched meanwhile for a later tile, or 0

	out      *float32 // mr rows of nr, ldo elements apart, or nil
	ldo      int
	bias     *float32 // nr elements, or nil
	residual *float32 // as out, which it may be, or nil
	relu     int      // 1: ReLU
}

// weights is a matrix of weights in the file's width: rows of ld elements.
type weights struct {
	dtype kernels.DType
	f32   []float32
	u16   []uint16
	ld    int
}

func (w view) weights(ld int) weights { return weights{dtype: w.dtype, f32: w.f32, u16: w.u16, ld: ld} }

// at widens one element.
func (w *weights) at(i int) float32 {
	switch w.dtype {
	case kernels.F16:
		return kernels.FromF16(w.u16[i])
	case kernels.BF16:
		return kernels.FromBF16(w.u16[i])
	}
	return w.f32[i]
}

func (w *weights) len() int {
	if w.dtype == kernels.F32 {
		return len(w.f32)
	}
	return len(w.u16)
}

// span returns the address of the elements from lo to hi, which it checks.
func (w *weights) span(lo, hi int) unsafe.Pointer {
	if w.dtype == kernels.F32 {
		return unsafe.Pointer(unsafe.SliceData(w.f32[lo:hi]))
	}
	return unsafe.Pointer(unsafe.SliceData(w.u16[lo:hi]))
}

// pack writes a panel of nr columns: element (r, j) of the n ≤ nr rows from row and of the len(offsets) columns from
// col goes to dst[offsets[j]+r]. What is in the columns of missing rows does not matter, as their sums are not used:
// they hold the rows that follow, if the matrix goes on, else zeros.
func (g *gemmKernels) pack(dst []float32, w *weights, row, n, col int, offsets []int32) {
	kernel := g.packF32
	switch w.dtype {
	case kernels.F16:
		kernel = g.packF16
	case kernels.BF16:
		kernel = g.packBF16
	}
	k := len(offsets)
	dst = dst[:k*g.nr]
	whole := k / g.packRows * g.packRows
	for r := 0; r < g.nr; r += g.packRows {
		vector := 0
		first := (row+r)*w.ld + col
		if end := first + (g.packRows-1)*w.ld + whole; r < n && whole > 0 && end <= w.len() {
			vector = whole
			kernel(&dst[r], w.span(first, end), w.ld*w.dtype.Size(), &offsets[0], whole)
		}
		for i := r; i < r+g.packRows; i++ {
			if i >= n {
				for _, o := range offsets[vector:] {
					dst[int(o)+i] = 0
				}
				continue
			}
			first := (row+i)*w.ld + col
			for j, o := range offsets[vector:] {
				dst[int(o)+i] = w.at(first + vector + j)
			}
		}
	}
}

// packVectors is pack for tiles of several lanes, with zeros in the columns of missing rows.
func (t *tiling) packVectors(dst []float32, w *weights, row, n, col int, offsets []int32) {
	for r := range t.nr {
		first := (row+r)*w.ld + col
		for j, o := range offsets {
			var x float32
			if r < n {
				x = w.at(first + j)
			}
			dst[int(o)+r*t.lanes] = x
		}
	}
}

// dot adds the products of row a with rows row…row+n of the weights to dst.
func (g *gemmKernels) dot(dst, a []float32, w *weights, row, n int) {
	kernel := g.dotF32
	switch w.dtype {
	case kernels.F16:
		kernel = g.dotF16
	case kernels.BF16:
		kernel = g.dotBF16
	}
	k := len(a)
	dst = dst[:n]
	whole := k / g.dotK * g.dotK
	for i := 0; i < n; i += 4 {
		vector := 0
		if i+4 <= n && whole > 0 {
			vector = whole
			first := (row + i) * w.ld
			kernel(&dst[i], &a[0], w.span(first, first+3*w.ld+whole), w.ld*w.dtype.Size(), whole)
		}
		for r := i; r < min(i+4, n); r++ {
			sum := dst[r]
			first := (row + r) * w.ld
			for j := vector; j < k; j++ {
				sum += a[j] * w.at(first+j)
			}
			dst[r] = sum
		}
	}
}

// finish is combine over slices: dst gives the length; bias and residual may be nil.
func (g *gemmKernels) finish(dst, c, bias, residual []float32) {
	n := len(dst)
	if n == 0 {
		return
	}
	if bias != nil {
		bias = bias[:n]
	}
	if residual != nil {
		residual = residual[:n]
	}
	g.combine(&dst[0], &c[:n][0], unsafe.SliceData(bias), unsafe.SliceData(residual), n)
}

// scaled is dst = f·src over slices: dst gives the length.
func (g *gemmKernels) scaled(dst, src []float32, f float32) {
	if n := len(dst); n > 0 {
		g.scale(&dst[0], &src[:n][0], f, n)
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

func divUp(n, by int) int { return (n + by - 1) / by }
