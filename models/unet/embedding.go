package unet

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// TimestepEmbedding is an MLP. Source: diffusers models/embeddings.py.
type TimestepEmbedding struct {
	Linear1  *nn.Linear `weight:"linear_1"`
	CondProj *nn.Linear `weight:"cond_proj"` // nil without
	Linear2  *nn.Linear `weight:"linear_2"`
}

// NewTimestepEmbedding declares the MLP from in to out features; condition is the width of a guidance embedding, 0
// without.
func NewTimestepEmbedding(in, out, condition int) *TimestepEmbedding {
	e := &TimestepEmbedding{Linear1: nn.NewLinear(in, out, true), Linear2: nn.NewLinear(out, out, true)}
	if condition > 0 {
		e.CondProj = nn.NewLinear(condition, in, false)
	}
	return e
}

// Forward maps x [B, in] to [B, out], plus residual [B, out] where it is not nil. condition is the guidance embedding,
// [B, condition], nil without. Taps see it before residual is added.
func (e *TimestepEmbedding) Forward(b *nn.Builder, x, condition, residual *nn.Value) *nn.Value {
	if e.CondProj != nil {
		x = e.CondProj.Fused(b, condition, nn.Epilogue{Residual: x})
	}
	x = e.Linear1.Fused(b, x, nn.Epilogue{Act: kernels.SiLU})
	return e.Linear2.Fused(b, x, nn.Epilogue{Residual: residual, Ends: e})
}
