package cpu

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
)

// noScratch is embedded in kernels that need no working memory.
type noScratch struct{}

func (noScratch) scratch() (shared, perWorker int) { return 0, 0 }

// rowwise shares rows of work of the given number of elements among the workers.
func rowwise(rows, width int) (parts int) { return min(rows, max(1, divUp(rows*width, partFloats))) }

// activation applies an activation to rows; all but GEGLU see one long row a part.
type activation struct {
	noScratch
	v           *variant
	act         kernels.Activation
	rows, width int
	parts       int
	x, out      []float32
}

func newActivate(s kernels.Activate, in []kernels.Tensor, v *variant) kernel {
	k := &activation{v: v, act: s.Act, rows: in[0].Len(), width: 1}
	if s.Act == kernels.GEGLU {
		k.width = in[0].Shape[len(in[0].Shape)-1]
		k.rows /= k.width
	}
	k.parts = rowwise(k.rows, k.width)
	return k
}

func (k *activation) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.out = in[0].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *activation) release() { k.x, k.out = nil, nil }

func (k *activation) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	if k.act == kernels.GEGLU {
		half := k.width / 2
		for r := lo; r < hi; r++ {
			x := k.x[r*k.width:][:k.width]
			k.v.vec.geglu(k.out[r*half:][:half], x, x[half:])
		}
		return
	}
	x, out := k.x[lo:hi], k.out[lo:hi]
	switch k.act {
	case kernels.SiLU:
		k.v.vec.silu(out, x)
	case kernels.GELU:
		k.v.vec.gelu(out, x)
	case kernels.QuickGELU:
		k.v.vec.quickGELU(out, x)
	case kernels.ReLU:
		k.v.vec.relu(out, x)
	case kernels.LeakyReLU:
		k.v.vec.leakyReLU(out, x)
	case kernels.SoftClamp:
		k.v.vec.softClamp(out, x)
	default:
		copy(out, x)
	}
}

// prelu applies slopes of channels, row by row.
type prelu struct {
	noScratch
	v             *variant
	rows, width   int
	parts         int
	x, slope, out []float32
}

func newPReLU(in []kernels.Tensor, v *variant) kernel {
	k := &prelu{v: v, width: in[1].Shape[0]}
	k.rows = in[0].Len() / k.width
	k.parts = rowwise(k.rows, k.width)
	return k
}

func (k *prelu) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.slope, k.out = in[0].f32, in[1].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *prelu) release() { k.x, k.slope, k.out = nil, nil, nil }

func (k *prelu) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	for r := lo; r < hi; r++ {
		k.v.vec.prelu(k.out[r*k.width:][:k.width], k.x[r*k.width:], k.slope)
	}
}

// add adds rows: y's are as many as x's, or one for every perY of x.
type add struct {
	noScratch
	v           *variant
	rows, width int
	perY        int
	parts       int
	x, y, out   []float32
}

func newAdd(s kernels.Add, in []kernels.Tensor, v *variant) kernel {
	k := &add{v: v, rows: in[0].Len(), width: 1, perY: 1}
	if s.Rows {
		k.width = in[1].Shape[1]
		k.rows /= k.width
		k.perY = k.rows / in[1].Shape[0]
	}
	k.parts = rowwise(k.rows, k.width)
	return k
}

func (k *add) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.y, k.out = in[0].f32, in[1].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *add) release() { k.x, k.y, k.out = nil, nil, nil }

func (k *add) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	if k.width == 1 && k.perY == 1 {
		k.v.vec.add(k.out[lo:hi], k.x[lo:hi], k.y[lo:hi])
		return
	}
	for r := lo; r < hi; r++ {
		k.v.vec.add(k.out[r*k.width:][:k.width], k.x[r*k.width:], k.y[r/k.perY*k.width:])
	}
}

// addMasked adds rows of y, each times its mask.
type addMasked struct {
	noScratch
	rows, width, parts int
	x, y, mask, out    []float32
}

func newAddMasked(in []kernels.Tensor) kernel {
	k := &addMasked{rows: in[2].Len()}
	k.width = in[0].Len() / k.rows
	k.parts = rowwise(k.rows, k.width)
	return k
}

func (k *addMasked) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.y, k.mask, k.out = in[0].f32, in[1].f32, in[2].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *addMasked) release() { k.x, k.y, k.mask, k.out = nil, nil, nil, nil }

func (k *addMasked) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	for r := lo; r < hi; r++ {
		m := k.mask[r]
		x, y, out := k.x[r*k.width:][:k.width], k.y[r*k.width:][:k.width], k.out[r*k.width:][:k.width]
		for c, v := range x {
			out[c] = v + m*y[c]
		}
	}
}

// concat copies rows of two sources one behind the other.
type concat struct {
	noScratch
	rows, width1, width2 int
	parts                int
	x, y, out            []float32
}

func newConcat(s kernels.Concat, in []kernels.Tensor) kernel {
	k := &concat{}
	k.width1, k.width2 = s.Widths(in[0], in[1])
	k.rows = in[0].Len() / k.width1
	k.parts = rowwise(k.rows, k.width1+k.width2)
	return k
}

func (k *concat) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.y, k.out = in[0].f32, in[1].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *concat) release() { k.x, k.y, k.out = nil, nil, nil }

func (k *concat) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	for r := lo; r < hi; r++ {
		out := k.out[r*(k.width1+k.width2):]
		copy(out[:k.width1], k.x[r*k.width1:])
		copy(out[k.width1:][:k.width2], k.y[r*k.width2:])
	}
}

// resize copies pixels of the nearest neighbours, a row of the result at a time.
type resize struct {
	noScratch
	h, w, outH, outW, channels int
	rows                       int
	parts                      int
	x, out                     []float32
}

func newResize(in, out []kernels.Tensor) kernel {
	from, to := in[0].Shape, out[0].Shape
	k := &resize{h: from[1], w: from[2], outH: to[1], outW: to[2], channels: to[3], rows: to[0] * to[1]}
	k.parts = rowwise(k.rows, k.outW*k.channels)
	return k
}

func (k *resize) run(p *workers, in, out []view, _ scratch) error {
	k.x, k.out = in[0].f32, out[0].f32
	p.run(k.parts, k)
	return nil
}

func (k *resize) release() { k.x, k.out = nil, nil }

func (k *resize) do(_, i int) {
	lo, hi := slice(k.rows, k.parts, i)
	c := k.channels
	for r := lo; r < hi; r++ {
		image, row := r/k.outH, r%k.outH
		from := k.x[(image*k.h+row*k.h/k.outH)*k.w*c:]
		to := k.out[r*k.outW*c:]
		for col := range k.outW {
			copy(to[col*c:][:c], from[col*k.w/k.outW*c:])
		}
	}
}

// embedding adds rows of two tables in the width they are stored in; it is small, so one worker does it.
type embedding struct {
	noScratch
	tokens, length, width int
}

func newEmbedding(in []kernels.Tensor) kernel {
	return &embedding{tokens: in[1].Shape[0], length: in[0].Shape[1], width: in[1].Shape[1]}
}

func (k *embedding) run(_ *workers, in, out []view, _ scratch) error {
	tokens, positions := in[1].weights(k.width), in[2].weights(k.width)
	for i, id := range in[0].i32 {
		if id < 0 || int(id) >= k.tokens {
			return fmt.Errorf("token id %d at %d of sequence %d: must be 0 to %d", id, i%k.length, i/k.length, k.tokens-1)
		}
		row := out[0].f32[i*k.width:][:k.width]
		token, position := int(id)*k.width, i%k.length*k.width
		for c := range row {
			row[c] = tokens.at(token+c) + positions.at(position+c)
		}
	}
	return nil
}

func (k *embedding) release() {}

// gather copies one row of each sequence.
type gather struct {
	noScratch
	length, width int
}

func newGather(in []kernels.Tensor) kernel {
	return &gather{length: in[0].Shape[1], width: in[0].Shape[2]}
}

func (k *gather) run(_ *workers, in, out []view, _ scratch) error {
	for b, row := range in[1].i32 {
		if row < 0 || int(row) >= k.length {
			return fmt.Errorf("row %d of sequence %d: must be 0 to %d", row, b, k.length-1)
		}
		copy(out[0].f32[b*k.width:][:k.width], in[0].f32[(b*k.length+int(row))*k.width:])
	}
	return nil
}

func (k *gather) release() {}
