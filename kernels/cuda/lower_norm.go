package cuda

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
)

func (l *lowering) groupNorm(s kernels.GroupNorm) error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	var x2 operand
	next := 1
	p := groupNormParams{
		Pixels: int32(x.Shape[1] * x.Shape[2]), C1: int32(x.Shape[3]), Groups: int32(s.Groups),
		XType: x.storage, OutType: l.out[0].storage, Act: int32(s.Act), Eps: float32(s.Eps),
	}
	if s.Concat {
		if x2, err = l.float(1); err != nil {
			return err
		}
		p.C2, p.X2Type = int32(x2.Shape[3]), x2.storage
		next++
	}
	weight, err := l.vector(next)
	if err != nil {
		return err
	}
	bias, err := l.vector(next + 1)
	if err != nil {
		return err
	}
	batch, out, shared := x.Shape[0], l.out[0], 8*s.Groups
	if shared > mostShared || batch > 65535 {
		return fmt.Errorf("cuda: group norm of %d samples and %d groups, want at most 65535 and %d", batch, s.Groups, mostShared/8)
	}
	// Enough blocks to fill the card, each with pixels enough to be worth it.
	slabs := ceil(s.Groups, 8)
	p.Chunks = int32(max(1, min(4*l.sms/(slabs*batch), int(p.Pixels)/32, 256)))
	partial := l.scratch(8 * int64(batch) * int64(s.Groups) * int64(p.Chunks))
	params := func(at func(ref) driver.Ptr) any {
		p := p
		p.X, p.X2, p.Weight, p.Bias, p.Partial, p.Out = at(x.ref), at(x2.ref), at(weight), at(bias), at(partial), at(out.ref)
		return p
	}
	l.launch("group_statistics", driver.Dim{X: uint32(p.Chunks), Y: uint32(slabs), Z: uint32(batch)}, 256, 0, params)
	name, v := vectors("group_apply", int(p.C1), int(p.C2))
	across := int(p.C1+p.C2) / v
	chunks := max(1, min(8*l.sms/(ceil(across, 256)*batch), int(p.Pixels)/8))
	l.launch(name, driver.Dim{X: uint32(chunks), Y: uint32(ceil(across, 256)), Z: uint32(batch)}, 256, shared, params)
	return nil
}

func (l *lowering) layerNorm(s kernels.LayerNorm) error {
	x, err := l.float(0)
	if err != nil {
		return err
	}
	weight, err := l.vector(1)
	if err != nil {
		return err
	}
	bias, err := l.vector(2)
	if err != nil {
		return err
	}
	c, out := x.Shape[len(x.Shape)-1], l.out[0]
	rows := x.Len() / c
	name, _ := vectors("layer_norm", c)
	l.launch(name, driver.Dim{X: uint32(ceil(rows, 8)), Y: 1, Z: 1}, 256, 0, func(at func(ref) driver.Ptr) any {
		return layerNormParams{X: at(x.ref), Weight: at(weight), Bias: at(bias), Out: at(out.ref),
			Rows: int32(rows), C: int32(c), XType: x.storage, OutType: out.storage, Eps: float32(s.Eps)}
	})
	return nil
}
