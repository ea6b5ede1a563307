package nn

import "github.com/goxl/goxl/kernels"

// Attention is softmax(q·kᵀ/√d)·v for each head; see kernels.Attention.
func (b *Builder) Attention(q, k, v *Value, heads int, causal bool) *Value {
	return b.apply1(kernels.Attention{Heads: heads, Causal: causal}, q, k, v)
}

// Activate applies a function to each element.
func (b *Builder) Activate(x *Value, act kernels.Activation) *Value {
	return b.apply1(kernels.Activate{Act: act}, x)
}

// Add is x + y, of one shape.
func (b *Builder) Add(x, y *Value) *Value { return b.apply1(kernels.Add{}, x, y) }

// AddMasked is x + mask·y: x and y [B, ..., C], mask [B, T] for the T positions of the middle axes, or [B, G·T] for G
// groups of consecutive channels of each.
func (b *Builder) AddMasked(x, y, mask *Value) *Value {
	return b.apply1(kernels.AddMasked{}, x, y, mask)
}

// AddRows adds rows [B, C] to every position of x [B, ..., C].
func (b *Builder) AddRows(x, rows *Value) *Value { return b.apply1(kernels.Add{Rows: true}, x, rows) }

// PReLU multiplies what is below 0 by its channel's slope; see kernels.PReLU.
func (b *Builder) PReLU(x *Value, slope *Param) *Value {
	return b.apply1(kernels.PReLU{}, x, b.weight(slope))
}

// Concat joins along the last axis.
func (b *Builder) Concat(x, y *Value) *Value { return b.apply1(kernels.Concat{}, x, y) }

// ConcatTokens joins sequences: [B, T1, C] and [B, T2, C] to [B, T1+T2, C].
func (b *Builder) ConcatTokens(x, y *Value) *Value {
	return b.apply1(kernels.Concat{Tokens: true}, x, y)
}

// Resize is nearest neighbour: [B, h, w, C] to [B, height, width, C]; see kernels.Resize.
func (b *Builder) Resize(x *Value, height, width int) *Value {
	return b.apply1(kernels.Resize{H: height, W: width}, x)
}

// Gather takes row rows[i] of sequence i: [B, T, C] to [B, C].
func (b *Builder) Gather(x, rows *Value) *Value { return b.apply1(kernels.Gather{}, x, rows) }

// Sinusoid embeds [B, N] numbers to [B, N·dim]; see kernels.Sinusoid.
func (b *Builder) Sinusoid(t *Value, s kernels.Sinusoid) *Value { return b.apply1(s, t) }

// ToPixels rounds values, −1…1, to bytes: [B, H, W, 3] to [B, H, W, 4]; see kernels.ToPixels.
func (b *Builder) ToPixels(x *Value) *Value { return b.apply1(kernels.ToPixels{}, x) }

// FromPixels undoes ToPixels, whose alpha it drops.
func (b *Builder) FromPixels(v *Value) *Value { return b.apply1(kernels.FromPixels{}, v) }

// ScaleRepeat is scale·x, times times along the batch axis.
func (b *Builder) ScaleRepeat(x, scale *Value, times int) *Value {
	return b.apply1(kernels.ScaleRepeat{Times: times}, x, scale)
}

// Guidance joins the halves of a batch, unconditional first; rescale is φ, or nil. See kernels.Guidance.
func (b *Builder) Guidance(m, scale, rescale *Value) *Value {
	if rescale == nil {
		return b.apply1(kernels.Guidance{}, m, scale)
	}
	return b.apply1(kernels.Guidance{Rescale: true}, m, scale, rescale)
}

// Solve advances the state x, and its history, by one step of a sampling schedule; see kernels.Solver.
func (b *Builder) Solve(x, m, noise, coefficients *Value, history []*Value) {
	b.SolveFrom(x, m, noise, coefficients, history, history)
}

// SolveFrom is Solve with history tensors read from other values than the states that they are written to.
func (b *Builder) SolveFrom(x, m, noise, coefficients *Value, from, history []*Value) {
	in := append([]*Value{x, m, noise, coefficients}, from...)
	out := b.apply(kernels.Solver{History: len(history)}, in...)
	for i, state := range append([]*Value{x}, history...) {
		b.Assign(state, out[i])
	}
}

// plain returns the spec without its fusions.
func plain(s kernels.Spec) kernels.Spec {
	switch s := s.(type) {
	case kernels.Linear:
		return kernels.Linear{Bias: s.Bias}
	case kernels.Conv2d:
		return kernels.Conv2d{Stride: s.Stride, Pad: s.Pad, Bias: s.Bias}
	case kernels.GroupNorm:
		return kernels.GroupNorm{Groups: s.Groups, Eps: s.Eps}
	}
	return s
}
