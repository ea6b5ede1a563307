package unet

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// ResnetBlock is two convolutions around the time embedding. Source: diffusers models/resnet.py, ResnetBlock2D.
type ResnetBlock struct {
	Norm1        *nn.GroupNorm `weight:"norm1"`
	Conv1        *nn.Conv2d    `weight:"conv1"`
	TimeEmbProj  *nn.Linear    `weight:"time_emb_proj"`
	Norm2        *nn.GroupNorm `weight:"norm2"`
	Conv2        *nn.Conv2d    `weight:"conv2"`
	ConvShortcut *nn.Conv2d    `weight:"conv_shortcut"` // nil where in and out are alike
}

// NewResnetBlock declares a block from in to out channels, both multiples of groups, whose time embedding has the given
// width. eps is that of its norms.
func NewResnetBlock(in, out, embedding, groups int, eps float64) *ResnetBlock {
	r := &ResnetBlock{
		Norm1:       nn.NewGroupNorm(groups, in, eps),
		Conv1:       nn.NewConv2d(in, out, 3),
		TimeEmbProj: nn.NewLinear(embedding, out, true),
		Norm2:       nn.NewGroupNorm(groups, out, eps),
		Conv2:       nn.NewConv2d(out, out, 3),
	}
	if in != out {
		r.ConvShortcut = nn.NewConv2d(in, out, 1)
	}
	return r
}

// Forward maps x, or x followed by skip on the channel axis where skip is not nil, from [B, H, W, in] to [B, H, W,
// out]. emb is silu of the time embedding, [B, embedding].
func (r *ResnetBlock) Forward(b *nn.Builder, x, skip, emb *nn.Value) *nn.Value {
	h := r.Norm1.Forward(b, x, skip, kernels.SiLU)
	h = r.Conv1.Fused(b, nn.Source{X: h}, nn.Epilogue{BroadcastBias: r.TimeEmbProj.Forward(b, emb)})
	h = r.Norm2.Forward(b, h, nil, kernels.SiLU)
	if r.ConvShortcut != nil {
		x = r.ConvShortcut.Fused(b, nn.Source{X: x, Skip: skip}, nn.Epilogue{})
	} else if skip != nil {
		x = b.Concat(x, skip)
	}
	return b.Tap(r, r.Conv2.Fused(b, nn.Source{X: h}, nn.Epilogue{Residual: x}))
}

// Transformer is attention over an image's positions and the prompt embeddings. Source: diffusers
// models/transformers/transformer_2d.py, Transformer2DModel.
type Transformer struct {
	Norm    *nn.GroupNorm       `weight:"norm"`
	ProjIn  *nn.Linear          `weight:"proj_in"`
	Blocks  []*TransformerBlock `weight:"transformer_blocks"`
	ProjOut *nn.Linear          `weight:"proj_out"`
}

// NewTransformer declares depth blocks of the given channels, a multiple of heads and of groups. context is the width
// of the prompt embeddings.
func NewTransformer(channels, heads, depth, context, groups int) *Transformer {
	const eps = 1e-6 // not norm_eps
	t := &Transformer{
		Norm:    nn.NewGroupNorm(groups, channels, eps),
		ProjIn:  nn.NewLinear(channels, channels, true),
		Blocks:  make([]*TransformerBlock, depth),
		ProjOut: nn.NewLinear(channels, channels, true),
	}
	for i := range t.Blocks {
		t.Blocks[i] = NewTransformerBlock(channels, heads, context)
	}
	return t
}

// Forward keeps the shape of x [B, H, W, C]; text is the prompt embeddings, [B, S, context].
func (t *Transformer) Forward(b *nn.Builder, x, text *nn.Value) *nn.Value {
	h := t.ProjIn.Forward(b, t.Norm.Forward(b, x, nil, kernels.Identity))
	for _, block := range t.Blocks {
		h = block.Forward(b, h, text)
	}
	return b.Tap(t, t.ProjOut.Fused(b, h, nn.Epilogue{Residual: x}))
}

// TransformerBlock is self-attention, cross-attention and a feed-forward part. Source: diffusers models/attention.py,
// BasicTransformerBlock.
type TransformerBlock struct {
	Norm1 *nn.LayerNorm `weight:"norm1"`
	Attn1 *Attention    `weight:"attn1"`
	Norm2 *nn.LayerNorm `weight:"norm2"`
	Attn2 *Attention    `weight:"attn2"`
	Norm3 *nn.LayerNorm `weight:"norm3"`
	FF    *FeedForward  `weight:"ff"`
}

// NewTransformerBlock declares a block of the given channels, a multiple of heads. context is the width of
// the prompt embeddings.
func NewTransformerBlock(channels, heads, context int) *TransformerBlock {
	const eps = 1e-5
	return &TransformerBlock{
		Norm1: nn.NewLayerNorm(channels, eps),
		Attn1: NewAttention(channels, channels, heads),
		Norm2: nn.NewLayerNorm(channels, eps),
		Attn2: NewAttention(channels, context, heads),
		Norm3: nn.NewLayerNorm(channels, eps),
		FF:    NewFeedForward(channels),
	}
}

// Forward keeps the shape of x [B, ..., C]; text is the prompt embeddings, [B, S, context].
func (t *TransformerBlock) Forward(b *nn.Builder, x, text *nn.Value) *nn.Value {
	h := t.Norm1.Forward(b, x)
	x = t.Attn1.Forward(b, h, h, x)
	x = t.Attn2.Forward(b, t.Norm2.Forward(b, x), text, x)
	return b.Tap(t, t.FF.Forward(b, t.Norm3.Forward(b, x), x))
}

// FeedForward is an MLP with a gated activation. Source: diffusers models/attention.py, FeedForward, and
// models/activations.py, GEGLU.
type FeedForward struct {
	GEGLU *nn.Linear `weight:"net.0.proj"` // the GEGLU projection: values, then gates
	Out   *nn.Linear `weight:"net.2"`
}

// NewFeedForward declares an MLP of the given channels, four times as wide within.
func NewFeedForward(channels int) *FeedForward {
	return &FeedForward{GEGLU: nn.NewLinear(channels, 8*channels, true), Out: nn.NewLinear(4*channels, channels, true)}
}

// Forward returns the MLP of x [B, ..., C], added to residual, of x's shape. Taps see it before residual is added.
func (f *FeedForward) Forward(b *nn.Builder, x, residual *nn.Value) *nn.Value {
	h := f.GEGLU.Fused(b, x, nn.Epilogue{Act: kernels.GEGLU}) // [B, ..., 4C]
	return f.Out.Fused(b, h, nn.Epilogue{Residual: residual, Ends: f})
}

// Attention is multi-head attention; keys and values come from another sequence in cross-attention.
type Attention struct {
	heads int
	ToQ   *nn.Linear `weight:"to_q"`
	ToK   *nn.Linear `weight:"to_k"`
	ToV   *nn.Linear `weight:"to_v"`
	ToOut *nn.Linear `weight:"to_out.0"`
}

// NewAttention declares attention of channels, a multiple of heads, to a sequence of width context, which is channels
// for self-attention.
func NewAttention(channels, context, heads int) *Attention {
	return &Attention{
		heads: heads,
		ToQ:   nn.NewLinear(channels, channels, false),
		ToK:   nn.NewLinear(context, channels, false),
		ToV:   nn.NewLinear(context, channels, false),
		ToOut: nn.NewLinear(channels, channels, true),
	}
}

// Forward returns attention of x [B, ..., channels] to source [B, ..., context], projected and added to residual, which
// has x's shape; what it attends to of Inputs.Images is added before it is projected. Taps see the result before residual
// is added, and probabilities of source alone. Where Inputs.Perturbed says so it is source's values, projected.
func (a *Attention) Forward(b *nn.Builder, x, source, residual *nn.Value) *nn.Value {
	if a.perturbed(b) {
		return a.ToOut.Fused(b, a.ToV.Forward(b, source), nn.Epilogue{Residual: residual, Ends: a})
	}
	q, k := a.ToQ.Forward(b, x), a.ToK.Forward(b, source)
	b.TapAttention(a, q, k, a.heads, false)
	y := b.Attention(q, k, a.ToV.Forward(b, source), a.heads, false)
	y = a.attendImages(b, q, y)
	return a.ToOut.Fused(b, y, nn.Epilogue{Residual: residual, Ends: a})
}
