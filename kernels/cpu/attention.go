package cpu

import (
	"math"

	"github.com/goxl/goxl/kernels"
)

// Attention's blocks. A part is a block of queries of one head against all keys, one block of keys after the other,
// with the running maximum and sum of flash attention. Of the scores only those of one row group of a tile exist at a
// time (12 × 512, 24 KB: in the level-1 cache between the two products). Keys and values are packed anew for each part,
// which many queries must outweigh, and stream past each row group; results (384 rows of 512 in the VAE, 780 KB) pass
// through the cache once for each block of keys, of which there should be few.
const (
	queryFloats = 192 << 10 // queries × head size of a part, at most
	queryRows   = 512       // queries of a part, at most
	fewRows     = 96        // queries of a part, at least, where parts are cut smaller to give every worker some
	keyFloats   = 64 << 10  // keys × head size of a block, at most
	keyRows     = 512       // keys of a block, at most
)

// attention is softmax(q·kᵀ/√d)·v by heads.
type attention struct {
	v               *variant
	batch, heads, d int
	queries, keys   int
	causal          bool
	scale           float32
	maxRows         int // queries of the largest part, a multiple of mr
	keyRows         int // of a block, a multiple of nr
	slots           int // d rounded up to whole tiles
	keyOffsets      []int32

	// for the number of workers of the last run
	workers   []productWorker
	queryRows int // of a part, a multiple of mr
	blocks    int // of queries in a head

	// of the run in progress
	in, out   []view
	memory    [][]float32
	keyMatrix weights
}

// newAttention returns the kernel of an Attention.
func newAttention(s kernels.Attention, in, out []kernels.Tensor, v *variant) kernel {
	q := in[0].Shape
	a := &attention{
		v: v, batch: q[0], heads: s.Heads, d: q[len(q)-1] / s.Heads,
		queries: kernels.Tokens(in[0]), keys: kernels.Tokens(in[1]), causal: s.Causal,
	}
	g := v.gemm
	a.scale = float32(1 / math.Sqrt(float64(a.d)))
	// Blocks of equal size.
	rows := min(a.queries, queryRows, max(queryFloats/a.d, 1))
	a.maxRows = roundUp(divUp(a.queries, divUp(a.queries, rows)), g.mr)
	keys := min(a.keys, keyRows, max(keyFloats/a.d, 1))
	a.keyRows = roundUp(divUp(a.keys, divUp(a.keys, keys)), g.nr)
	a.slots = roundUp(a.d, g.nr)
	a.keyOffsets = make([]int32, a.d)
	for i := range a.keyOffsets {
		a.keyOffsets[i] = int32(i * g.nr)
	}
	return a
}

// prepare cuts the queries for a number of workers.
func (a *attention) prepare(workers int) {
	if len(a.workers) == workers {
		return
	}
	mr := a.v.gemm.mr
	a.workers = make([]productWorker, workers)
	for w := range a.workers {
		a.workers[w].rows = make([]*float32, mr)
	}
	a.blocks = divUp(a.queries, a.maxRows)
	for a.batch*a.heads*a.blocks < 2*workers && a.queries/(a.blocks+1) >= fewRows {
		a.blocks++
	}
	a.queryRows = min(roundUp(divUp(a.queries, a.blocks), mr), a.maxRows)
	a.blocks = divUp(a.queries, a.queryRows)
}

// sizes are the lengths of a worker's scratch: packed keys and values; scores of a row group; results; maxima and sums.
func (a *attention) sizes() (kv, scores, result, stats int) {
	return a.keyRows * a.slots, a.v.gemm.mr * a.keyRows, a.maxRows * a.slots, roundUp(2*a.maxRows, 16)
}

func (a *attention) scratch() (shared, perWorker int) {
	kv, scores, result, stats := a.sizes()
	return 0, 2*kv + roundUp(scores, 16) + result + stats
}

func (a *attention) run(p *workers, in, out []view, s scratch) error {
	a.prepare(p.count())
	a.in, a.out, a.memory = in, out, s.worker
	a.keyMatrix = weights{dtype: kernels.F32, f32: in[1].f32, ld: a.heads * a.d}
	p.run(a.batch*a.heads*a.blocks, a)
	return nil
}

func (a *attention) release() {
	a.in, a.out, a.memory, a.keyMatrix = nil, nil, nil, weights{}
	releaseWorkers(a.workers)
}

// do computes part i: a block of queries of one head. Parts of a head follow each other, so that its keys are in a
// cache.
func (a *attention) do(w, i int) {
	g, d, width := a.v.gemm, a.d, a.heads*a.d
	first := i % a.blocks * a.queryRows
	head, batch := i/a.blocks%a.heads, i/a.blocks/a.heads
	rows := min(a.queryRows, a.queries-first)
	base := (batch*a.queries+first)*width + head*d

	kvSize, scoreSize, resultSize, statSize := a.sizes()
	mem := a.memory[w]
	k, mem := mem[:kvSize], mem[kvSize:]
	v, mem := mem[:kvSize], mem[kvSize:]
	scores, mem := mem[:scoreSize], mem[roundUp(scoreSize, 16):]
	result, mem := mem[:resultSize], mem[resultSize:]
	stats := mem[:statSize]
	rowMax, sums := stats[:rows], stats[a.maxRows:][:rows]
	for r := range rows {
		rowMax[r], sums[r] = float32(math.Inf(-1)), 0
	}

	last := a.keys
	if a.causal {
		last = min(last, first+rows)
	}
	for key := 0; key < last; key += a.keyRows {
		keys := min(a.keyRows, last-key)
		a.packKeys(k, batch*a.keys+key, keys, head)
		a.packValues(v, batch*a.keys+key, keys, head)
		for r := 0; r < rows; r += g.mr {
			group := min(g.mr, rows-r)
			if a.causal && first+r+group <= key {
				continue // sees none of these keys
			}
			a.multiply(w, scores, a.keyRows, a.in[0].f32[base+r*width:], width, group, d, k, divUp(keys, g.nr), false)
			for j := range group {
				seen := keys
				if a.causal {
					seen = min(keys, max(first+r+j+1-key, 0))
				}
				row := scores[j*a.keyRows:][:keys]
				clear(row[seen:])
				if seen > 0 {
					a.onlineSoftmax(row[:seen], &rowMax[r+j], &sums[r+j], result[(r+j)*a.slots:][:d], key > 0)
				}
			}
			a.multiply(w, result[r*a.slots:], a.slots, scores, a.keyRows, group, keys, v, a.slots/g.nr, key > 0)
		}
	}
	for r := range rows {
		g.scaled(a.out[0].f32[base+r*width:][:d], result[r*a.slots:], 1/sums[r])
	}
}

// onlineSoftmax is one update of the online softmax: scores become exponentials relative to the row's maximum so far,
// and a sum and a result that were accumulated under an older maximum are rescaled.
func (a *attention) onlineSoftmax(row []float32, rowMax, sum *float32, result []float32, accumulated bool) {
	if m := a.v.vec.max(row); m > *rowMax {
		if accumulated {
			f := float32(math.Exp(float64(*rowMax - m)))
			*sum *= f
			a.v.gemm.scaled(result, result, f)
		}
		*rowMax = m
	}
	*sum += a.v.vec.expShiftSum(row, *rowMax)
}

// packKeys packs keys as columns and scales them, on behalf of the scores.
func (a *attention) packKeys(dst []float32, row, keys, head int) {
	g := a.v.gemm
	for j := 0; j < keys; j += g.nr {
		g.pack(dst[j*a.d:], &a.keyMatrix, row+j, min(g.nr, keys-j), head*a.d, a.keyOffsets)
	}
	all := dst[:roundUp(keys, g.nr)*a.d]
	g.scaled(all, all, a.scale)
}

// packValues packs values as rows: they lie in the right order and are only cut into panels.
func (a *attention) packValues(dst []float32, row, keys, head int) {
	g := a.v.gemm
	v, width := a.in[2].f32, a.heads*a.d
	for c := 0; c < a.d; c += g.nr {
		panel := dst[c*keys:][:keys*g.nr]
		first := row*width + head*a.d + c
		// Past the head's last column comes what is not used, except near the very last value, where there is nothing.
		whole := 0
		if rest := len(v) - first - g.nr; rest >= 0 {
			whole = min(keys, rest/width+1)
		}
		for r := whole; r < keys; r++ {
			to := panel[r*g.nr:][:g.nr]
			clear(to[copy(to, v[first+r*width:][:min(a.d-c, g.nr)]):])
		}
		if whole > 0 {
			g.gather(&panel[0], &v[first : first+(whole-1)*width+g.nr][0], 4*width, whole)
		}
	}
}

// multiply is c (+)= a·b for rows of a ld elements apart and packed panels of depth k.
func (a *attention) multiply(w int, c []float32, ldc int, x []float32, ld, rows, k int, b []float32, panels int, accumulate bool) {
	g, state := a.v.gemm, &a.workers[w]
	state.args = tileArgs{ldc: ldc, rows: &state.rows[0], taps: 1, k: k}
	if accumulate {
		state.args.accumulate = 1
	}
	for r := 0; r < rows; r += g.mr {
		for j := range state.rows {
			// Rows past the last are computed from the last one and not used.
			from := min(r+j, rows-1) * ld
			state.rows[j] = &x[from : from+k][0]
		}
		for j := range panels {
			state.args.c = &c[r*ldc+j*g.nr : (r+g.mr-1)*ldc+(j+1)*g.nr][0]
			state.args.b = &b[j*g.nr*k : (j+1)*g.nr*k][0]
			g.tile(&state.args)
		}
	}
}
