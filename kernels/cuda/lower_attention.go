package cuda

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

// Head sizes up to flashMost that are multiples of 8 have a flash kernel; those beyond go through two products.
const flashMost = 80

// scoreBytes bounds the scores, in float32, that attention by products holds at a time.
const scoreBytes = 128 << 20

func (l *lowering) attention(s kernels.Attention) error {
	q, k, out := l.in[0], l.in[1], l.out[0]
	c := q.Shape[len(q.Shape)-1]
	size, batch := c/s.Heads, q.Shape[0]
	p := attentionParams{
		Queries: int32(kernels.Tokens(q.Tensor)), Keys: int32(kernels.Tokens(k.Tensor)), Heads: int32(s.Heads), Size: int32(size), Pitch: int32(c),
		OutType: out.storage, QType: narrow, KType: narrow, VTyp: narrow,
		Scale: float32(math.Log2E / math.Sqrt(float64(size))),
	}
	if s.Causal {
		p.Causal = 1
	}
	if s.Heads > 65535 || batch > 65535 {
		return fmt.Errorf("cuda: attention of %d samples and %d heads, want at most 65535 of each", batch, s.Heads)
	}
	if size%8 != 0 || size > flashMost && s.Causal {
		return l.plainAttention(p, batch)
	}
	var refs [3]ref
	for i := range refs {
		var err error
		if refs[i], _, err = l.channels(i); err != nil {
			return err
		}
	}
	if size > flashMost {
		l.attentionByProducts(p, batch, refs[0], refs[1], refs[2], out)
		return nil
	}
	d := roundUp(size, 16)
	name, queries, block, shared := fmt.Sprintf("flash_%d", d), 128, 128, flashShared(d)
	if size == 64 && len(l.flash) > 0 {
		f := l.flash[0]
		name, queries, block, shared = f.kernel(), f.queries, 2*f.queries, f.shared()
	}
	grid := driver.Dim{X: uint32(ceil(int(p.Queries), queries)), Y: uint32(s.Heads), Z: uint32(batch)}
	l.launch(name, grid, uint32(block), shared, func(at func(ref) driver.Ptr) any {
		p := p
		p.Q, p.K, p.V, p.Out = at(refs[0]), at(refs[1]), at(refs[2]), at(out.ref)
		return p
	})
	return nil
}

// flashShared is the dynamic shared memory of a flash kernel: 128 queries and two pairs of tiles of 64 keys and values, rows padded by 16 bytes.
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
	if shared > mostShared {
		return fmt.Errorf("cuda: attention with heads of %d channels, want a multiple of 8 or at most %d", p.Size, (mostShared/4-132)/2)
	}
	p.QType, p.KType, p.VTyp = in[0].storage, in[1].storage, in[2].storage
	out := l.out[0]
	grid := driver.Dim{X: uint32(p.Queries), Y: uint32(p.Heads), Z: uint32(batch)}
	l.launch("attention_plain", grid, 128, shared, func(at func(ref) driver.Ptr) any {
		p := p
		p.Q, p.K, p.V, p.Out = at(in[0].ref), at(in[1].ref), at(in[2].ref), at(out.ref)
		return p
	})
	return nil
}

// attentionByProducts computes scores = q·kᵀ, their exponentials and p·v for as many queries at a time as scoreBytes allows, head by head.
func (l *lowering) attentionByProducts(a attentionParams, batch int, q, k, v ref, out operand) {
	queries, keys, size, pitch := int(a.Queries), int(a.Keys), int(a.Size), int(a.Pitch)
	across := roundUp(keys, 64)
	most := max(128, scoreBytes/4/across/128*128)
	chunk := min(queries, most)
	scores, weights := l.scratch(4*int64(chunk)*int64(across)), l.scratch(2*int64(chunk)*int64(across))
	scale, turned := l.scratch(4*int64(chunk)), l.scratch(2*int64(size)*int64(across))
	for b := range batch {
		for h := range int(a.Heads) {
			key := k.plus(b*keys*pitch+h*size, narrow)
			value := v.plus(b*keys*pitch+h*size, narrow)
			l.launch("transpose", driver.Dim{X: uint32(across / 32), Y: uint32(ceil(size, 32)), Z: 1}, 256, 0, func(at func(ref) driver.Ptr) any {
				return transposeParams{X: at(value), Out: at(turned), Rows: int32(keys), Columns: int32(size), Pitch: int32(pitch), PitchOut: int32(across)}
			})
			for from := 0; from < queries; from += chunk {
				n, first := min(chunk, queries-from), (b*queries+from)*pitch+h*size
				qk := product{x: q.plus(first, narrow), w: key, out: operand{ref: scores, storage: wide}}
				qk.rows(n, size, pitch)
				qk.N, qk.PitchW, qk.Columns, qk.PitchOut = int32(keys), int32(pitch), int32(keys), int32(across)
				l.product(qk)
				l.launch("softmax", driver.Dim{X: uint32(n), Y: 1, Z: 1}, 256, 0, func(at func(ref) driver.Ptr) any {
					return softmaxParams{S: at(scores), P: at(weights), Scale: at(scale), Keys: int32(keys), Pitch: int32(across), PitchS: int32(across), Factor: a.Scale}
				})
				pv := product{x: weights, w: turned, rowScale: scale, out: operand{ref: out.plus(first, out.storage), storage: out.storage}}
				pv.rows(n, across, across)
				pv.N, pv.PitchW, pv.Columns, pv.PitchOut = int32(size), int32(across), int32(size), int32(pitch)
				l.product(pv)
			}
		}
	}
}
