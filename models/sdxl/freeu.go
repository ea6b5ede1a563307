package sdxl

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// FreeU scales what the UNet's first two blocks of the way up read: the first half of the channels that come from the
// block below, and the lowest frequencies of the skip connections. Its authors have 0.9, 0.2, 1.3 and 1.4 for SDXL.
// All are above 0, since diffusers takes a 0 for none at all.
type FreeU struct {
	S1 float64 `json:"s1"` // of the skip connections of the first block
	S2 float64 `json:"s2"` // of the second one's
	B1 float64 `json:"b1"` // of the channels of the first block
	B2 float64 `json:"b2"` // of the second one's
}

// maxFreeU is the largest factor that is taken.
const maxFreeU = 100

// resolveFreeU checks the factors.
func (s *Spec) resolveFreeU(q *resolved) error {
	u := q.request.FreeU
	if u == nil {
		return nil
	}
	for _, f := range []field[float64]{{"freeu.s1", u.S1}, {"freeu.s2", u.S2}, {"freeu.b1", u.B1}, {"freeu.b2", u.B2}} {
		if !(f.value > 0 && f.value <= maxFreeU) {
			return bad(f.name, f.value, "above 0, up to %d", maxFreeU)
		}
	}
	q.FreeU = new(*u)
	return nil
}

// freeUSize is that of the positions at a block of the way up, whose latents are height×width.
func freeUSize(c unet.Config, s shape, block int) (height, width int) {
	height, width = s.height, s.width
	for range len(c.BlockOutChannels) - 1 - block {
		height, width = (height+1)/2, (width+1)/2
	}
	return height, width
}

func freeUBlocks(c unet.Config) int { return min(unet.FreeUBlocks, len(c.BlockOutChannels)) }

func (s shape) freeUName(block int, name string) string {
	return s.named(fmt.Sprintf("FreeU %d: %s", block, name), 0)
}

// freeUInputs declares FreeU's masks; nil without.
func freeUInputs(b *nn.Builder, c unet.Config, s shape) (list []*unet.FreeU) {
	if !s.freeU {
		return nil
	}
	zero := b.Input(s.named("FreeU: zero", 0), kernels.Request, kernels.F32, 1)
	for block := range freeUBlocks(c) {
		height, width := freeUSize(c, s, block)
		list = append(list, unet.NewFreeU(height*width, zero, func(name string, sample int) *nn.Value {
			return b.Input(s.freeUName(block, name), kernels.Request, kernels.F32, s.unetBatch(), sample)
		}))
	}
	return list
}

// setFreeU writes them.
func (r *Run) setFreeU(p *nn.Program, s shape) error {
	if !s.freeU {
		return nil
	}
	if err := p.SetFloats(s.named("FreeU: zero", 0), 0); err != nil {
		return err
	}
	factors := [unet.FreeUBlocks][2]float64{{r.q.FreeU.S1, r.q.FreeU.B1}, {r.q.FreeU.S2, r.q.FreeU.B2}}
	for block := range freeUBlocks(r.unet.Config) {
		height, width := freeUSize(r.unet.Config, s, block)
		masks := unet.NewFreeUMasks(height, width, factors[block][0], factors[block][1])
		err := masks.Each(func(name string, sample []float32) error {
			return p.SetFloats(s.freeUName(block, name), slices.Repeat(sample, s.unetBatch())...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
