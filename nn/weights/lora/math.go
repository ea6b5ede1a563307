package lora

import (
	"runtime"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// plain implements [kernels.Arithmetic] in Go.
type plain struct{}

func (plain) AddProduct(dst, up, down []float32, rank int, scale float32) {
	addRows(dst, up, down, rank, scale)
}

func (plain) Widen(dst []float32, dtype kernels.DType, src []byte) { widenTo(dst, dtype, src) }

func (plain) Round(dst []byte, dtype kernels.DType, src []float32) { roundTo(dst, dtype, src) }

// addRows is dst += scale·up·down for matrices in row order: up is of rank columns, down of rank rows. A row does not
// depend on how many there are. It works on four rows and four ranks at a time, so that what is loaded is used four
// times.
func addRows(dst, up, down []float32, rank int, scale float32) {
	if rank == 0 || len(down) == 0 {
		return
	}
	rows, cols := len(up)/rank, len(down)/rank
	r := 0
	for ; r+4 <= rows; r += 4 {
		y0, y1, y2, y3 := dst[r*cols:][:cols], dst[(r+1)*cols:][:cols], dst[(r+2)*cols:][:cols], dst[(r+3)*cols:][:cols]
		u0, u1, u2, u3 := up[r*rank:][:rank], up[(r+1)*rank:][:rank], up[(r+2)*rank:][:rank], up[(r+3)*rank:][:rank]
		k := 0
		for ; k+4 <= rank; k += 4 {
			a00, a01, a02, a03 := scale*u0[k], scale*u0[k+1], scale*u0[k+2], scale*u0[k+3]
			a10, a11, a12, a13 := scale*u1[k], scale*u1[k+1], scale*u1[k+2], scale*u1[k+3]
			a20, a21, a22, a23 := scale*u2[k], scale*u2[k+1], scale*u2[k+2], scale*u2[k+3]
			a30, a31, a32, a33 := scale*u3[k], scale*u3[k+1], scale*u3[k+2], scale*u3[k+3]
			d0, d1, d2, d3 := down[k*cols:][:cols], down[(k+1)*cols:][:cols], down[(k+2)*cols:][:cols], down[(k+3)*cols:][:cols]
			for j := range d0 {
				x0, x1, x2, x3 := d0[j], d1[j], d2[j], d3[j]
				y0[j] += a00*x0 + a01*x1 + a02*x2 + a03*x3
				y1[j] += a10*x0 + a11*x1 + a12*x2 + a13*x3
				y2[j] += a20*x0 + a21*x1 + a22*x2 + a23*x3
				y3[j] += a30*x0 + a31*x1 + a32*x2 + a33*x3
			}
		}
		addRanks(y0, u0, down, k, scale)
		addRanks(y1, u1, down, k, scale)
		addRanks(y2, u2, down, k, scale)
		addRanks(y3, u3, down, k, scale)
	}
	for ; r < rows; r++ {
		y, u := dst[r*cols:][:cols], up[r*rank:][:rank]
		k := 0
		for ; k+4 <= rank; k += 4 {
			a0, a1, a2, a3 := scale*u[k], scale*u[k+1], scale*u[k+2], scale*u[k+3]
			d0, d1, d2, d3 := down[k*cols:][:cols], down[(k+1)*cols:][:cols], down[(k+2)*cols:][:cols], down[(k+3)*cols:][:cols]
			for j := range d0 {
				y[j] += a0*d0[j] + a1*d1[j] + a2*d2[j] + a3*d3[j]
			}
		}
		addRanks(y, u, down, k, scale)
	}
}

// addRanks adds what the ranks from k on give to a row.
func addRanks(y, u, down []float32, k int, scale float32) {
	for ; k < len(u); k++ {
		a, d := scale*u[k], down[k*len(y):][:len(y)]
		for j := range d {
			y[j] += a * d[j]
		}
	}
}

// spanBytes is how much of a weight, in float32, one goroutine works on at a time: with what the kinds need beside it,
// it stays in the level-2 cache.
const spanBytes = 256 << 10

// rowGroup is a multiple of the rows that addRows, and the tiles of most CPUs, take at once.
const rowGroup = 12

// parallel calls f for spans of n rows of so many columns, whole groups of rows each, from as many goroutines as there
// are CPUs, and waits for them. Small work is done at once. How the rows are cut does not depend on the CPUs.
func parallel(n, cols, group int, f func(first, end int)) {
	if group == 1 {
		group = rowGroup
	}
	step := max(spanBytes/4/max(cols, 1), 1)
	step = (step + group - 1) / group * group
	spans := (n + step - 1) / step
	workers := min(runtime.GOMAXPROCS(0), spans)
	if workers <= 1 {
		for first := 0; first < n; first += step {
			f(first, min(first+step, n))
		}
		return
	}
	next := make(chan int, spans)
	for i := range spans {
		next <- i * step
	}
	close(next)
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for first := range next {
				f(first, min(first+step, n))
			}
		})
	}
	wait.Wait()
}

// buffers hold spans of weights in float32.
var buffers = sync.Pool{New: func() any { return new([]float32) }}

// borrow returns n numbers of any value, which are given back.
func borrow(n int) *[]float32 {
	b := buffers.Get().(*[]float32)
	if cap(*b) < n {
		*b = make([]float32, n)
	}
	*b = (*b)[:n]
	return b
}

func giveBack(b *[]float32) { buffers.Put(b) }

// lcm is the least common multiple.
func lcm(a, b int) int {
	x, y := a, b
	for y != 0 {
		x, y = y, x%y
	}
	return a / x * b
}

// product is a·b, of matrices with so many inner columns.
func product(x, y []float32, inner int) []float32 {
	rows, cols := len(x)/inner, len(y)/inner
	out := make([]float32, rows*cols)
	parallel(rows, cols, 1, func(first, end int) {
		addRows(out[first*cols:end*cols], x[first*inner:end*inner], y, inner, 1)
	})
	return out
}

// transposed is the transpose of a matrix with so many rows.
func transposed(x []float32, rows int) []float32 {
	out := make([]float32, len(x))
	transpose(out, x, rows)
	return out
}

// transpose puts the transpose of a matrix with so many rows into dst.
func transpose(dst, x []float32, rows int) {
	cols := len(x) / rows
	for i := range rows {
		for j, v := range x[i*cols:][:cols] {
			dst[j*rows+i] = v
		}
	}
}
