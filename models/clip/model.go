// Package clip is CLIP's transformers: that of text, both of SDXL's encoders, and that of images, which IP-Adapters
// read.
//
// Source: transformers 5 models/clip/modeling_clip.py (CLIPTextModel, CLIPTextModelWithProjection,
// CLIPVisionModelWithProjection).
package clip

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors of a text encoder under their checkpoint names.
type Model struct {
	config         Config
	Embeddings     *Embeddings   `weight:"text_model.embeddings"`
	Layers         []*Layer      `weight:"text_model.encoder.layers"`
	FinalLayerNorm *nn.LayerNorm `weight:"text_model.final_layer_norm"`
	TextProjection *nn.Linear    `weight:"text_projection"` // nil in CLIPTextModel
}

// New declares the model of a configuration.
func New(c Config) *Model {
	act := kernels.GELU
	if c.HiddenAct == "quick_gelu" {
		act = kernels.QuickGELU
	}
	m := &Model{
		config:         c,
		Embeddings:     NewEmbeddings(c.VocabSize, c.MaxPositions, c.HiddenSize),
		Layers:         make([]*Layer, c.Layers),
		FinalLayerNorm: nn.NewLayerNorm(c.HiddenSize, c.LayerNormEps),
	}
	for i := range m.Layers {
		m.Layers[i] = NewLayer(c.HiddenSize, c.Heads, c.Intermediate, act, c.LayerNormEps)
	}
	if c.WithProjection {
		m.TextProjection = nn.NewLinear(c.HiddenSize, c.ProjectionDim, false)
	}
	return m
}

// Forward maps ids [B, T] to the hidden states [B, T, C] after all layers but the last skip+1, as SDXL uses them:
// without the final norm. With a projection it also gives the pooled text embedding [B, P] of row eos [B]; else pooled
// is nil.
func (m *Model) Forward(b *nn.Builder, ids, eos *nn.Value, skip int) (hidden, pooled *nn.Value) {
	return m.Encode(b, m.Embeddings.Forward(b, ids), eos, skip)
}

// Encode is Forward of embeddings x [B, T, C], as Embeddings give them.
func (m *Model) Encode(b *nn.Builder, x, eos *nn.Value, skip int) (hidden, pooled *nn.Value) {
	for i, layer := range m.Layers {
		if i == len(m.Layers)-1-skip {
			hidden = x
			if m.TextProjection == nil {
				return hidden, nil
			}
		}
		x = layer.Forward(b, x)
	}
	last := b.Gather(x, eos) // [B, C]: the norm acts on each row alone, so it can follow the choice of rows
	last = m.FinalLayerNorm.Forward(b, last)
	return hidden, m.TextProjection.Forward(b, last)
}

// Embeddings turn tokens into vectors.
type Embeddings struct {
	TokenEmbedding    *nn.Embedding `weight:"token_embedding"`
	PositionEmbedding *nn.Embedding `weight:"position_embedding"`
}

// NewEmbeddings declares rows of the given channels for so many tokens and positions.
func NewEmbeddings(tokens, positions, channels int) *Embeddings {
	return &Embeddings{nn.NewEmbedding(tokens, channels), nn.NewEmbedding(positions, channels)}
}

// Forward maps ids [B, T] to the sums of tokens' and positions' rows, [B, T, C].
func (e *Embeddings) Forward(b *nn.Builder, ids *nn.Value) *nn.Value {
	return b.Tap(e, nn.EmbedTokens(b, ids, e.TokenEmbedding, e.PositionEmbedding))
}

// Layer is one transformer layer.
type Layer struct {
	SelfAttn   *Attention    `weight:"self_attn"`
	LayerNorm1 *nn.LayerNorm `weight:"layer_norm1"`
	MLP        *MLP          `weight:"mlp"`
	LayerNorm2 *nn.LayerNorm `weight:"layer_norm2"`
}

// NewLayer declares a layer of the given channels, a multiple of heads, whose MLP has intermediate features. eps is
// that of its norms.
func NewLayer(channels, heads, intermediate int, act kernels.Activation, eps float64) *Layer {
	return &Layer{
		SelfAttn:   NewAttention(channels, heads),
		LayerNorm1: nn.NewLayerNorm(channels, eps),
		MLP:        NewMLP(channels, intermediate, act),
		LayerNorm2: nn.NewLayerNorm(channels, eps),
	}
}

// Forward keeps the shape [B, T, C].
func (l *Layer) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	x = l.SelfAttn.Forward(b, l.LayerNorm1.Forward(b, x), x)
	return b.Tap(l, l.MLP.Forward(b, l.LayerNorm2.Forward(b, x), x))
}

// Attention is multi-head self-attention, causal in text encoders.
type Attention struct {
	heads   int
	causal  bool
	KProj   *nn.Linear `weight:"k_proj"`
	VProj   *nn.Linear `weight:"v_proj"`
	QProj   *nn.Linear `weight:"q_proj"`
	OutProj *nn.Linear `weight:"out_proj"`
}

// NewAttention declares causal attention of the given channels, a multiple of heads.
func NewAttention(channels, heads int) *Attention {
	linear := func() *nn.Linear { return nn.NewLinear(channels, channels, true) }
	return &Attention{heads: heads, causal: true, KProj: linear(), VProj: linear(), QProj: linear(), OutProj: linear()}
}

// Forward returns attention of x [B, T, C], projected and added to residual, of x's shape. Taps see it before residual
// is added.
func (a *Attention) Forward(b *nn.Builder, x, residual *nn.Value) *nn.Value {
	q, k := a.QProj.Forward(b, x), a.KProj.Forward(b, x)
	b.TapAttention(a, q, k, a.heads, a.causal)
	y := b.Attention(q, k, a.VProj.Forward(b, x), a.heads, a.causal)
	return a.OutProj.Fused(b, y, nn.Epilogue{Residual: residual, Ends: a})
}

// MLP is the feed-forward part of a layer.
type MLP struct {
	act kernels.Activation
	FC1 *nn.Linear `weight:"fc1"`
	FC2 *nn.Linear `weight:"fc2"`
}

// NewMLP declares an MLP with intermediate features, on which act acts.
func NewMLP(channels, intermediate int, act kernels.Activation) *MLP {
	return &MLP{act: act, FC1: nn.NewLinear(channels, intermediate, true), FC2: nn.NewLinear(intermediate, channels, true)}
}

// Forward returns fc2(act(fc1(x))) + residual, of the shape of x [B, T, C]. Taps see it before residual is added.
func (m *MLP) Forward(b *nn.Builder, x, residual *nn.Value) *nn.Value {
	y := m.FC1.Fused(b, x, nn.Epilogue{Act: m.act}) // [B, T, intermediate]
	return m.FC2.Fused(b, y, nn.Epilogue{Residual: residual, Ends: m})
}
