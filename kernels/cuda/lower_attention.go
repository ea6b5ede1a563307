package cuda

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// maxFlashSize is the largest head size with a flash attention kernel. Larger ones run unfused, as two GEMMs.
const maxFlashSize = 80

// Unfused attention computes scores of scoreBytes at a time, in float32: few enough to stay in the L2 cache of a large
// card from one kernel to the next. It collects probabilities of probBytes, enough for a GEMM that fills such a card.
const (
	scoreBytes = 32 << 20
	probBytes  = 256 << 20
)

func (l *lowering) attention(s kernels.Attention) error {
	q, k, out := l.in[0], l.in[1], l.out[0]
	c := q.Shape[len(q.Shape)-1]
	size, batch := c/s.Heads, q.Shape[0]
	p := attentionParams{
		Queries: int32(kernels.Tokens(q.Tensor)), Keys: int32(kernels.Tokens(k.Tensor)), Heads: int32(s.Heads), Size: int32(size),
		PitchQ: int32(c), PitchK: int32(c), PitchV: int32(c), PitchOut: int32(c),
		OutType: out.storage, QType: half, KType: half, VTyp: half,
		Scale: float32(math.Log2E / math.Sqrt(float64(size))),
	}
	for i, pitch := range []*int32{&p.PitchQ, &p.PitchK, &p.PitchV} {
		if n := l.in[i].pitch; n > 0 {
			*pitch = int32(n)
		}
	}
	if s.Causal {
		p.Causal = 1
	}
	if s.Heads > 65535 || batch > 65535 {
		return fmt.Errorf("cuda: attention of %d samples and %d heads, want at most 65535 of each", batch, s.Heads)
	}
	if size%8 != 0 || size > maxFlashSize && s.Causal {
		return l.plainAttention(p, batch)
	}
	var symbols [3]symbol
	for i := range symbols {
		var err error
		if symbols[i], _, err = l.channels(i); err != nil {
			return err
		}
	}
	if size > maxFlashSize {
		l.unfusedAttention(p, batch, symbols[0], symbols[1], symbols[2], out)
		return nil
	}
	if f, found := chooseFlash(l.flash, int(p.Keys), s.Causal); found && size == 64 {
		l.flashAttention(f, p, batch, symbols, out)
		return nil
	}
	d := roundUp(size, 16)
	grid := driver.Dim{X: uint32(ceil(int(p.Queries), 128)), Y: uint32(s.Heads), Z: uint32(batch)}
	l.launch(fmt.Sprintf("flash_%d", d), grid, 128, flashShared(d), func(at resolver) any {
		p := p
		p.Q, p.K, p.V, p.Out = at(symbols[0]), at(symbols[1]), at(symbols[2]), at(out.symbol)
		return p
	})
	return nil
}

// flashAttention launches Hopper's kernel: persistent blocks, as many as the card holds, share the tiles of all heads
// and samples.
func (l *lowering) flashAttention(f flashTile, p attentionParams, batch int, in [3]symbol, out operand) {
	heads := int(p.Heads) * batch
	width := ceil(int(p.Queries), f.queries)
	made := flashLaunch{tile: f, pitches: [3]int32{p.PitchQ, p.PitchK, p.PitchV}, batch: batch, element: driver.Float16}
	if l.precision == kernels.BF16 {
		made.element = driver.BFloat16
	}
	made.flashParams = flashParams{
		Queries: p.Queries, Keys: p.Keys, Heads: p.Heads, Tiles: int32(width * heads), Width: int32(width),
		PitchOut: p.PitchOut, Causal: p.Causal, OutType: out.storage, Scale: p.Scale,
	}
	grid := driver.Dim{X: uint32(min(width*heads, l.sms*f.perSM)), Y: 1, Z: 1}
	l.launch(f.kernel(), grid, uint32(f.threads()), f.shared(), func(at resolver) any {
		made := made
		made.Out = at(out.symbol)
		made.at = [3]driver.Ptr{at(in[0]), at(in[1]), at(in[2])}
		return made
	})
}

// flashLaunch is what the parameters of Hopper's flash attention kernel are made of: operands q, k and v of
// [batch, tokens, pitch].
type flashLaunch struct {
	flashParams
	tile    flashTile
	batch   int
	element driver.ElementType
	pitches [3]int32
	at      [3]driver.Ptr
}

// encode implements mapped.
func (f flashLaunch) encode(e encoder) (any, error) {
	p := f.flashParams
	for i, m := range [3]*driver.TensorMap{&p.Q, &p.K, &p.V} {
		tokens, rows := p.Queries, 64
		if i > 0 {
			tokens, rows = p.Keys, f.tile.keys
		}
		pitch := 2 * int64(f.pitches[i])
		var err error
		*m, err = e.EncodeTiled(driver.Tiled{
			Type: f.element, Address: f.at[i], Size: []int64{64 * int64(p.Heads), int64(tokens), int64(f.batch)},
			Stride: []int64{pitch, pitch * int64(tokens)}, Box: []uint32{64, uint32(rows), 1}, Swizzle: driver.Swizzle128, Promotion: driver.Promotion128,
		})
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// flashShared is the dynamic shared memory of a portable flash attention kernel in bytes: 128 queries and two stages of
// 64 keys and values, rows padded by 16 bytes.
func flashShared(d int) int { return (128 + 4*64) * (d + 8) * 2 }

func (l *lowering) plainAttention(p attentionParams, batch int) error {
	var in [3]operand
	for i := range in {
		var err error
		if in[i], err = l.float(i); err != nil {
			return err
		}
	}
	shared := 4 * (2*int(p.Size) + 128 + 4)
	if shared > maxShared {
		return fmt.Errorf("cuda: attention with heads of %d channels, want a multiple of 8 or at most %d", p.Size, (maxShared/4-132)/2)
	}
	p.QType, p.KType, p.VTyp = in[0].storage, in[1].storage, in[2].storage
	out := l.out[0]
	grid := driver.Dim{X: uint32(p.Queries), Y: uint32(p.Heads), Z: uint32(batch)}
	l.launch("attention_plain", grid, 128, shared, func(at resolver) any {
		p := p
		p.Q, p.K, p.V, p.Out = at(in[0].symbol), at(in[1].symbol), at(in[2].symbol), at(out.symbol)
		return p
	})
	return nil
}

// unfusedAttention computes, head by head, scores = q·kᵀ and their softmax for as many queries at a time as scoreBytes
// allows, and p·v for as many as probBytes does.
func (l *lowering) unfusedAttention(a attentionParams, batch int, q, k, v symbol, out operand) {
	queries, keys, size := int(a.Queries), int(a.Keys), int(a.Size)
	pitch := roundUp(keys, 64)
	chunk := func(bytes, each int) int { return min(queries, max(128, bytes/each/pitch/128*128)) }
	scoreRows, probRows := chunk(scoreBytes, 4), chunk(probBytes, 2)
	scores, probs := l.scratch(4*int64(scoreRows)*int64(pitch)), l.scratch(2*int64(probRows)*int64(pitch))
	scale, transposedV := l.scratch(4*int64(probRows)), l.scratch(2*int64(size)*int64(pitch))
	for b := range batch {
		for h := range int(a.Heads) {
			key := k.plus(b*keys*int(a.PitchK)+h*size, half)
			value := v.plus(b*keys*int(a.PitchV)+h*size, half)
			l.launch("transpose", driver.Dim{X: uint32(pitch / 32), Y: uint32(ceil(size, 32)), Z: 1}, 256, 0, func(at resolver) any {
				return transposeParams{X: at(value), Out: at(transposedV), Rows: int32(keys), Columns: int32(size), Pitch: a.PitchV, PitchOut: int32(pitch)}
			})
			for from := 0; from < queries; from += probRows {
				rows := min(probRows, queries-from)
				for done := 0; done < rows; done += scoreRows {
					n := min(scoreRows, rows-done)
					qk := gemm{x: q.plus((b*queries+from+done)*int(a.PitchQ)+h*size, half), w: key, out: operand{symbol: scores, storage: fp32}}
					qk.rows(n, size, int(a.PitchQ))
					qk.N, qk.PitchW, qk.Columns, qk.PitchOut = int32(keys), a.PitchK, int32(keys), int32(pitch)
					l.gemm(qk)
					l.launch("softmax", driver.Dim{X: uint32(n), Y: 1, Z: 1}, 256, 0, func(at resolver) any {
						return softmaxParams{S: at(scores), P: at(probs.plus(done*pitch, half)), Scale: at(scale.plus(done, fp32)),
							Keys: int32(keys), Pitch: int32(pitch), PitchS: int32(pitch), Factor: a.Scale}
					})
				}
				first := (b*queries+from)*int(a.PitchOut) + h*size
				pv := gemm{x: probs, w: transposedV, rowScale: scale, out: operand{symbol: out.plus(first, out.storage), storage: out.storage}}
				pv.rows(rows, pitch, pitch)
				pv.N, pv.PitchW, pv.Columns, pv.PitchOut = int32(size), int32(pitch), int32(size), a.PitchOut
				l.gemm(pv)
			}
		}
	}
}
