package sdxl

import (
	"context"
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// held are latents that are put back after a step, where nothing is repainted.
type held struct {
	program     *nn.Program
	latents     []float32 // of the whole batch, at the noise level of the next step
	keep, minus []float32 // [N·h·w]: 1 and -1 where they are put back, else 0
}

// heldLatents are those of the step that comes next; nil if nothing is put back. Source: diffusers
// pipeline_stable_diffusion_xl_inpaint.py, and ComfyUI's nodes_differential_diffusion.py for soft masks.
func (r *Run) heldLatents() (*held, error) {
	if !slices.ContainsFunc(r.each(), func(one *Run) bool { return one.inpaint.holds() }) {
		return nil, nil
	}
	h := &held{}
	steps := r.q.schedule.Steps
	scale, sigma := 1.0, 0.0
	if next := r.at + 1; next < len(steps) {
		scale, sigma = r.q.schedule.AddNoise(next)
	}
	for _, one := range r.each() {
		n, positions := one.elements(), one.shape.batch*one.shape.height*one.shape.width
		if !one.inpaint.holds() {
			h.latents, h.keep = append(h.latents, make([]float32, n)...), append(h.keep, make([]float32, positions)...)
			continue
		}
		h.latents = append(h.latents, mixed(float32(scale), float32(sigma), one.inpaint.latents, one.inpaint.noise)...)
		keep := one.inpaint.keepAt(one.q, r.at)
		for range one.shape.batch {
			h.keep = append(h.keep, keep...)
		}
	}
	h.minus = make([]float32, len(h.keep))
	for i, k := range h.keep {
		h.minus[i] = -k
	}
	var err error
	h.program, err = r.m.holdingProgram(r.retry.precision, r.shape, r.unet.Config.OutChannels)
	return h, err
}

// holds reports whether latents are put back after each step; nil is a run without a mask.
func (p *inpainting) holds() bool { return p != nil && p.latents != nil && p.noise != nil }

// keepAt says where latents are put back after a step: 1, else 0. Of a soft mask it is where it is less than t/t_first.
func (p *inpainting) keepAt(q *resolved, step int) []float32 {
	least := float32(0.5)
	if q.SoftMask {
		if least = 0; q.schedule.Steps[0].Timestep > 0 {
			least = float32(q.schedule.Steps[step].Timestep) / float32(q.schedule.Steps[0].Timestep)
		}
	}
	keep := make([]float32, len(p.amount))
	for i, a := range p.amount {
		if a < least {
			keep[i] = 1
		}
	}
	return keep
}

// holdClean puts the image's own latents into others without noise, as after the last step.
func (r *Run) holdClean(x []float32) []float32 {
	if !r.inpaint.holds() {
		return x
	}
	keep := r.inpaint.keepAt(r.q, max(r.at-1, 0))
	c := r.unet.Config.OutChannels
	for i := range x {
		if keep[i/c%len(keep)] == 1 {
			x[i] = r.inpaint.latents[i]
		}
	}
	return x
}

// holdingProgram puts latents back, for a shape, in a precision that is 0 for the model's own: x − keep·x, which is 0 or x
// itself, + keep·latents, so that either comes out bit for bit. Both are in float32, whatever else is computed in 16 bits:
// what is added to a state with a mask is nowhere rounded.
func (m *Model) holdingProgram(precision kernels.DType, s shape, channels int) (*nn.Program, error) {
	if m.holding == nil {
		n, err := nn.NewNetwork(m.host.device, weights.FromMap(nil), m.kernelOptions())
		if err != nil {
			return nil, fmt.Errorf("inpainting: %w", err)
		}
		n.Manage(m.host.memory)
		m.holding = n
		m.closers = append(m.closers, n)
	}
	p, err := m.holding.ProgramIn(precision, fmt.Sprintf("hold %d×%d×%d×%d", s.batch, s.height, s.width, channels), func(b *nn.Builder) {
		x := b.Input("x", kernels.State, kernels.F32, s.batch, s.height, s.width, channels)
		latents := b.Input("latents", kernels.Step, kernels.F32, s.batch, s.height, s.width, channels)
		keep := b.Input("keep", kernels.Step, kernels.F32, s.batch, s.height*s.width)
		minus := b.Input("minus keep", kernels.Step, kernels.F32, s.batch, s.height*s.width)
		b.Assign(x, b.AddMasked(b.AddMasked(x, x, minus), latents, keep))
	})
	if err != nil {
		return nil, fmt.Errorf("inpainting: %w", err)
	}
	return p, nil
}

// into puts the latents into the state x of a program, which stay on the device.
func (h *held) into(ctx context.Context, step *nn.Program) error {
	for _, in := range []struct {
		name string
		data []float32
	}{{"latents", h.latents}, {"keep", h.keep}, {"minus keep", h.minus}} {
		if err := h.program.SetFloats(in.name, in.data...); err != nil {
			return err
		}
	}
	if err := h.program.CopyFrom("x", step, "x"); err != nil {
		return err
	}
	if err := h.program.Run(ctx); err != nil {
		return fmt.Errorf("inpainting: %w", err)
	}
	return step.CopyFrom("x", h.program, "x")
}
