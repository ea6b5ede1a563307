package ipadapter

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors of an adapter under the names that its file has, but for layers, which are numbered from 0, and
// tensors that are split by rows; see source.
type Model struct {
	config     Config
	Projection *Projection `weight:"image_proj"` // nil in plus
	Resampler  *Resampler  `weight:"image_proj"` // nil but in plus
	Layers     []*Layer    `weight:"ip_adapter"`
}

// New declares the model of a configuration.
func New(c Config) *Model {
	m := &Model{config: c}
	if c.Plus {
		m.Resampler = newResampler(c)
	} else {
		m.Projection = &Projection{Norm: nn.NewLayerNorm(c.Context, eps)}
		for range c.Tokens {
			m.Projection.Proj = append(m.Projection.Proj, nn.NewLinear(c.Width, c.Context, true))
		}
	}
	for _, channels := range c.Layers {
		m.Layers = append(m.Layers, &Layer{ToK: nn.NewLinear(c.Context, channels, false), ToV: nn.NewLinear(c.Context, channels, false)})
	}
	return m
}

const eps = 1e-5

// Tokens maps what the image encoder gives, [B, 1, Width] or, of plus, [B, S, Width], to an image's tokens
// [B, Tokens, Context].
func (m *Model) Tokens(b *nn.Builder, x *nn.Value) *nn.Value {
	if m.Resampler != nil {
		return m.Resampler.forward(b, x)
	}
	return m.Projection.Forward(b, x)
}

// Layer is the keys and values of one cross-attention.
type Layer struct {
	ToK *nn.Linear `weight:"to_k_ip"`
	ToV *nn.Linear `weight:"to_v_ip"`
}

// Projection makes tokens of an image embedding.
type Projection struct {
	Proj []*nn.Linear  `weight:"proj"` // one for each token
	Norm *nn.LayerNorm `weight:"norm"`
}

// Forward maps [B, 1, Width] to [B, Tokens, Context].
func (p *Projection) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	tokens := p.Proj[0].Forward(b, x)
	for _, l := range p.Proj[1:] {
		tokens = b.ConcatTokens(tokens, l.Forward(b, x))
	}
	return p.Norm.Forward(b, tokens)
}

// Resampler makes tokens of an image's hidden states: latents attend to them.
type Resampler struct {
	heads   int
	Latents *nn.Param     `weight:"latents"` // [1, Tokens, Hidden], an input of the program
	ProjIn  *nn.Linear    `weight:"proj_in"`
	Layers  []*Block      `weight:"layers"`
	ProjOut *nn.Linear    `weight:"proj_out"`
	NormOut *nn.LayerNorm `weight:"norm_out"`
}

// Block is a layer of a Resampler.
type Block struct {
	Norm1  *nn.LayerNorm `weight:"0.norm1"` // of the hidden states
	Norm2  *nn.LayerNorm `weight:"0.norm2"` // of the latents
	ToQ    *nn.Linear    `weight:"0.to_q"`
	ToK    *nn.Linear    `weight:"0.to_k"`
	ToV    *nn.Linear    `weight:"0.to_v"`
	ToOut  *nn.Linear    `weight:"0.to_out"`
	FFNorm *nn.LayerNorm `weight:"1.0"`
	FF1    *nn.Linear    `weight:"1.1"`
	FF2    *nn.Linear    `weight:"1.3"`
}

func newResampler(c Config) *Resampler {
	r := &Resampler{
		heads:   c.Heads,
		Latents: nn.NewParam(1, c.Tokens, c.Hidden),
		ProjIn:  nn.NewLinear(c.Width, c.Hidden, true),
		ProjOut: nn.NewLinear(c.Hidden, c.Context, true),
		NormOut: nn.NewLayerNorm(c.Context, eps),
	}
	inner := c.Heads * headSize
	for range c.Depth {
		r.Layers = append(r.Layers, &Block{
			Norm1: nn.NewLayerNorm(c.Hidden, eps), Norm2: nn.NewLayerNorm(c.Hidden, eps),
			ToQ: nn.NewLinear(c.Hidden, inner, false), ToK: nn.NewLinear(c.Hidden, inner, false), ToV: nn.NewLinear(c.Hidden, inner, false),
			ToOut:  nn.NewLinear(inner, c.Hidden, false),
			FFNorm: nn.NewLayerNorm(c.Hidden, eps),
			FF1:    nn.NewLinear(c.Hidden, c.Intermediate, false), FF2: nn.NewLinear(c.Intermediate, c.Hidden, false),
		})
	}
	return r
}

// latentsInput is the name under which the program reads the latents: no operation reads a weight as it is.
const latentsInput = "latents"

func (r *Resampler) forward(b *nn.Builder, x *nn.Value) *nn.Value {
	latents := b.Input(latentsInput, kernels.Request, kernels.F32, x.Dim(0), r.Latents.Shape[1], r.Latents.Shape[2])
	x = r.ProjIn.Forward(b, x)
	for _, l := range r.Layers {
		latents = l.Forward(b, x, latents, r.heads)
	}
	return r.NormOut.Forward(b, r.ProjOut.Forward(b, latents))
}

// Forward keeps the shape of latents [B, Tokens, Hidden], which attend to x [B, S, Hidden] and themselves.
func (l *Block) Forward(b *nn.Builder, x, latents *nn.Value, heads int) *nn.Value {
	own := l.Norm2.Forward(b, latents)
	all := b.ConcatTokens(l.Norm1.Forward(b, x), own)
	y := b.Attention(l.ToQ.Forward(b, own), l.ToK.Forward(b, all), l.ToV.Forward(b, all), heads, false)
	latents = l.ToOut.Fused(b, y, nn.Epilogue{Residual: latents})
	y = l.FF1.Fused(b, l.FFNorm.Forward(b, latents), nn.Epilogue{Act: kernels.GELU})
	return b.Tap(l, l.FF2.Fused(b, y, nn.Epilogue{Residual: latents}))
}
