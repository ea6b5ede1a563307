package lora

import (
	"runtime"
	"sync"
)

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

// rowBytes is how much of a weight, in float32, one goroutine works on at a time: it stays in the level-2 cache.
const rowBytes = 256 << 10

// rowGroup is how many rows addRows takes at once.
const rowGroup = 4

// parallel calls f for spans of n rows of so many columns, from as many goroutines as there are CPUs, and waits
// for them. Small work is done at once.
func parallel(n, cols int, f func(first, end int)) {
	step := max(rowBytes/4/max(cols, 1), 1)
	step = (step + rowGroup - 1) / rowGroup * rowGroup
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

// addProduct is dst += scale·up·down over all CPUs.
func addProduct(dst, up, down []float32, rank int, scale float32) {
	if rank == 0 {
		return
	}
	parallel(len(up)/rank, len(down)/rank, func(first, end int) {
		cols := len(down) / rank
		addRows(dst[first*cols:end*cols], up[first*rank:end*rank], down, rank, scale)
	})
}

// product is a·b, of matrices with so many inner columns.
func product(x, y []float32, inner int) []float32 {
	out := make([]float32, len(x)/inner*(len(y)/inner))
	addProduct(out, x, y, inner, 1)
	return out
}

// transposed is the transpose of a matrix with so many rows.
func transposed(x []float32, rows int) []float32 {
	cols := len(x) / rows
	out := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			out[j*rows+i] = x[i*cols+j]
		}
	}
	return out
}
