package lora

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/goxl/goxl/kernels"
)

// rotation is OFT and BOFT: blocks of rows of W are multiplied by orthogonal matrices, in one stage or in several
// between which the rows change places; then each row by a factor.
type rotation struct {
	tensor
	block     int         // rows of a block
	stages    [][]float32 // of each, the matrices less the identity: blocks of block·block numbers in row order
	butterfly bool
	rescale   []float32 // of each row; nil is 1
}

func (o *rotation) dependent() bool { return true }

// group are the rows that the last stage brings together.
func (o *rotation) group() int { return o.block << (len(o.stages) - 1) }

func (o *rotation) adder(a kernels.Arithmetic) adder {
	return func(dst, w []float32, first int, f float32) {
		if !o.butterfly && o.rescale == nil {
			o.addBlocks(a, dst, w, o.stages[0], first, f)
			return
		}
		x, from := borrow(len(w)), borrow(len(w))
		defer giveBack(x)
		defer giveBack(from)
		copy(*x, w)
		for i, stage := range o.stages {
			// Rows that are rotated together lie together.
			o.permute(*from, *x, func(r int) (to, from int) { return r, o.place(r, i) })
			copy(*x, *from)
			o.addBlocks(a, *x, *from, stage, first, 1)
			copy(*from, *x)
			o.permute(*x, *from, func(r int) (to, from int) { return o.place(r, i), r })
		}
		for at := 0; at < len(dst); at += o.cols {
			by := float32(1)
			if o.rescale != nil {
				by = o.rescale[first+at/o.cols]
			}
			for i := at; i < at+o.cols; i++ {
				dst[i] += f * (by*(*x)[i] - w[i])
			}
		}
	}
}

// addBlocks adds the products of a stage's blocks with their rows of x, from row first of the weight on.
func (o *rotation) addBlocks(a kernels.Arithmetic, dst, x, stage []float32, first int, f float32) {
	size, rows := o.block*o.block, o.block*o.cols
	parallel(len(dst)/rows, rows, 1, func(from, end int) {
		for b := from; b < end; b++ {
			a.AddProduct(dst[b*rows:], stage[(first/o.block+b)*size:][:size], x[b*rows:(b+1)*rows], o.block, f)
		}
	})
}

// permute copies rows: places gives, of each number of a row, which row of dst is which of src.
func (o *rotation) permute(dst, src []float32, places func(r int) (to, from int)) {
	for r := range len(dst) / o.cols {
		to, from := places(r)
		copy(dst[to*o.cols:][:o.cols], src[from*o.cols:])
	}
}

// place is the row of the weight that is row r of the blocks of a stage. A butterfly's stage i pairs rows that are
// 2^i·block/2 apart: (group, 2, distance) becomes (group, distance, 2).
func (o *rotation) place(r, stage int) int {
	if !o.butterfly {
		return r
	}
	k := o.block / 2 << stage
	group, in := r/(2*k), r%(2*k)
	return group*2*k + in%2*k + in/2
}

// rotation builds OFT of kohya and LyCORIS (3 axes), BOFT (4 axes) and the first OFT of LyCORIS (oft_diag).
func (g *group) rotation() (delta, error) {
	p := oftBlocks
	if !g.has(p) {
		p = oftDiag // holds the rotations themselves
	}
	x, shape, err := g.floats(p)
	if err != nil {
		return nil, err
	}
	n := len(shape)
	if n != 3 && (n != 4 || p == oftDiag) || shape[n-1] != shape[n-2] {
		return nil, g.errorf(p, "(blocks, n, n), or (stages, blocks, n, n)", "shape %v", shape)
	}
	o := &rotation{tensor: g.weight, block: shape[n-1], butterfly: n == 4}
	blocks := shape[n-3]
	if err := g.fit(g.weight, "weight", p, g.weight.len()); err != nil {
		return nil, err
	}
	if blocks*o.block != g.weight.rows {
		return nil, &misfit{misfitRows(g.key(p), blocks*o.block, g.weight.shape)}
	}
	stages := 1
	if o.butterfly {
		stages = shape[0]
		if bits.OnesCount(uint(o.block)) != 1 || o.block < 2 || stages > 32 || g.weight.rows%(o.block<<(stages-1)) != 0 {
			return nil, g.errorf(p, "blocks of a power of two, and no more stages than they can mix", "shape %v", shape)
		}
	}
	if p == oftBlocks {
		limit := float32(0)
		if g.has(alpha) {
			if limit, err = g.number(alpha); err != nil {
				return nil, err
			}
		}
		if x, err = cayley(x, o.block, float64(limit)*float64(g.weight.rows)); err != nil {
			return nil, g.errorf(p, "", "%v", err)
		}
	} else if g.has(alpha) {
		g.used[alpha] = true // it was used in training alone
	}
	if !o.butterfly { // W' = Rᵀ·W
		for b := range blocks {
			copy(x[b*o.block*o.block:], transposed(x[b*o.block*o.block:][:o.block*o.block], o.block))
		}
	}
	for i := 0; i < len(x); i += o.block {
		x[i+i/o.block%o.block]--
	}
	for i := range stages {
		size := len(x) / stages
		o.stages = append(o.stages, x[i*size:(i+1)*size])
	}
	if g.has(rescale) {
		if o.rescale, shape, err = g.floats(rescale); err != nil {
			return nil, err
		}
		if len(o.rescale) != g.weight.rows {
			return nil, g.errorf(rescale, fmt.Sprintf("%d numbers", g.weight.rows), "shape %v", shape)
		}
	}
	return o, nil
}

// cayley makes rotations of blocks of n·n numbers: R = (I + Q)·(I − Q)⁻¹ for Q = B − Bᵀ, whose norm over all blocks is
// held to a limit; 0 is none. It computes in float64.
func cayley(x []float32, n int, limit float64) ([]float32, error) {
	q := make([]float64, len(x))
	norm := 0.0
	for b := 0; b < len(x); b += n * n {
		for i := range n {
			for j := range n {
				v := float64(x[b+i*n+j] - x[b+j*n+i])
				q[b+i*n+j] = v
				norm += v * v
			}
		}
	}
	if norm = math.Sqrt(norm) + 1e-8; limit > 0 && norm > limit {
		for i := range q {
			q[i] *= limit / norm
		}
	}
	out := make([]float32, len(x))
	for b := 0; b < len(x); b += n * n {
		// (I − Q)ᵀ·Rᵀ = (I + Q)ᵀ, and Qᵀ = −Q: so (I + Q)·Rᵀ = I − Q.
		a, r := make([]float64, n*n), make([]float64, n*n)
		for i, v := range q[b : b+n*n] {
			a[i], r[i] = v, -v
		}
		for i := range n {
			a[i*n+i]++
			r[i*n+i]++
		}
		if err := solve(a, r, n); err != nil {
			return nil, err
		}
		for i := range n {
			for j := range n {
				out[b+j*n+i] = float32(r[i*n+j])
			}
		}
	}
	return out, nil
}

// solve replaces r by a⁻¹·r, for n·n numbers each, by elimination with pivots. It overwrites a.
func solve(a, r []float64, n int) error {
	for k := range n {
		pivot := k
		for i := k + 1; i < n; i++ {
			if math.Abs(a[i*n+k]) > math.Abs(a[pivot*n+k]) {
				pivot = i
			}
		}
		if a[pivot*n+k] == 0 || math.IsInf(a[pivot*n+k], 0) || math.IsNaN(a[pivot*n+k]) {
			return fmt.Errorf("no rotation can be made of it")
		}
		for j := range n {
			a[k*n+j], a[pivot*n+j] = a[pivot*n+j], a[k*n+j]
			r[k*n+j], r[pivot*n+j] = r[pivot*n+j], r[k*n+j]
		}
		for i := range n {
			if i == k || a[i*n+k] == 0 {
				continue
			}
			f := a[i*n+k] / a[k*n+k]
			for j := k; j < n; j++ {
				a[i*n+j] -= f * a[k*n+j]
			}
			for j := range n {
				r[i*n+j] -= f * r[k*n+j]
			}
		}
	}
	for i := range n {
		for j := range n {
			r[i*n+j] /= a[i*n+i]
		}
	}
	return nil
}
