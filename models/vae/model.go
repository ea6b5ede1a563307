// Package vae is SDXL's autoencoder between images and latents.
//
// Source: diffusers 0.42 models/autoencoders/autoencoder_kl.py and vae.py.
package vae

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors of an autoencoder under their checkpoint names.
type Model struct {
	Encoder       *Encoder   `weight:"encoder"`
	Decoder       *Decoder   `weight:"decoder"`
	QuantConv     *nn.Conv2d `weight:"quant_conv"`      // nil without
	PostQuantConv *nn.Conv2d `weight:"post_quant_conv"` // nil without
}

// New declares the model of a configuration.
func New(c Config) *Model {
	m := &Model{Encoder: NewEncoder(c), Decoder: NewDecoder(c)}
	if c.UseQuantConv {
		m.QuantConv = nn.NewConv2d(2*c.LatentChannels, 2*c.LatentChannels, 1)
	}
	if c.UsePostQuantConv {
		m.PostQuantConv = nn.NewConv2d(c.LatentChannels, c.LatentChannels, 1)
	}
	return m
}

// Encode maps images [B, H, W, 3] in −1…1 to moments [B, H/f, W/f, 2·latent channels]: means, then log variances.
func (m *Model) Encode(b *nn.Builder, x *nn.Value) *nn.Value {
	x = m.Encoder.Forward(b, x)
	if m.QuantConv != nil {
		x = m.QuantConv.Forward(b, x)
	}
	return x
}

// Decode maps unscaled latents [B, h, w, latent channels] to images [B, f·h, f·w, 3], about −1…1.
func (m *Model) Decode(b *nn.Builder, z *nn.Value) *nn.Value {
	if m.PostQuantConv != nil {
		z = m.PostQuantConv.Forward(b, z)
	}
	return m.Decoder.Forward(b, z)
}

// Encoder halves the image once a level but the last.
type Encoder struct {
	ConvIn      *nn.Conv2d    `weight:"conv_in"`
	DownBlocks  []*Level      `weight:"down_blocks"`
	MidBlock    *MidBlock     `weight:"mid_block"`
	ConvNormOut *nn.GroupNorm `weight:"conv_norm_out"`
	ConvOut     *nn.Conv2d    `weight:"conv_out"`
}

// NewEncoder declares the encoder of a configuration.
func NewEncoder(c Config) *Encoder {
	channels := c.BlockOutChannels
	e := &Encoder{ConvIn: nn.NewConv2d(c.InChannels, channels[0], 3)}
	in := channels[0]
	for i, out := range channels {
		level := NewLevel(in, out, c.LayersPerBlock, c.NormNumGroups, c.eps())
		if i < len(channels)-1 {
			conv := nn.NewConv2d(out, out, 3)
			conv.Stride, conv.Pad = 2, kernels.Padding{Right: 1, Bottom: 1} // one-sided, unlike the UNet's
			level.Downsamplers = []*Sampler{{Conv: conv}}
		}
		e.DownBlocks = append(e.DownBlocks, level)
		in = out
	}
	e.MidBlock = NewMidBlock(in, c.NormNumGroups, c.MidBlockAttn, c.eps())
	e.ConvNormOut = nn.NewGroupNorm(c.NormNumGroups, in, c.eps())
	e.ConvOut = nn.NewConv2d(in, 2*c.LatentChannels, 3)
	return e
}

// Forward maps [B, H, W, 3] to [B, H/f, W/f, 2·latent channels].
func (e *Encoder) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	x = e.ConvIn.Forward(b, x)
	for _, level := range e.DownBlocks {
		x = level.Forward(b, x)
	}
	x = e.MidBlock.Forward(b, x)
	return b.Tap(e, e.ConvOut.Forward(b, e.ConvNormOut.Forward(b, x, nil, kernels.SiLU)))
}

// Decoder doubles the image once a level but the last.
type Decoder struct {
	ConvIn      *nn.Conv2d    `weight:"conv_in"`
	MidBlock    *MidBlock     `weight:"mid_block"`
	UpBlocks    []*Level      `weight:"up_blocks"`
	ConvNormOut *nn.GroupNorm `weight:"conv_norm_out"`
	ConvOut     *nn.Conv2d    `weight:"conv_out"`
}

// NewDecoder declares the decoder of a configuration.
func NewDecoder(c Config) *Decoder {
	channels := c.BlockOutChannels
	in := channels[len(channels)-1]
	d := &Decoder{ConvIn: nn.NewConv2d(c.LatentChannels, in, 3), MidBlock: NewMidBlock(in, c.NormNumGroups, c.MidBlockAttn, c.eps())}
	for i := range channels {
		out := channels[len(channels)-1-i]
		level := NewLevel(in, out, c.LayersPerBlock+1, c.NormNumGroups, c.eps())
		if i < len(channels)-1 {
			level.Upsamplers = []*Sampler{{Conv: nn.NewConv2d(out, out, 3)}}
		}
		d.UpBlocks = append(d.UpBlocks, level)
		in = out
	}
	d.ConvNormOut = nn.NewGroupNorm(c.NormNumGroups, in, c.eps())
	d.ConvOut = nn.NewConv2d(in, c.OutChannels, 3)
	return d
}

// Forward maps [B, h, w, latent channels] to [B, f·h, f·w, 3].
func (d *Decoder) Forward(b *nn.Builder, z *nn.Value) *nn.Value {
	x := d.MidBlock.Forward(b, d.ConvIn.Forward(b, z))
	for _, level := range d.UpBlocks {
		x = level.Forward(b, x)
	}
	return b.Tap(d, d.ConvOut.Forward(b, d.ConvNormOut.Forward(b, x, nil, kernels.SiLU)))
}

// Level is the residual blocks of one resolution and the step to the next.
type Level struct {
	Resnets      []*ResnetBlock `weight:"resnets"`
	Downsamplers []*Sampler     `weight:"downsamplers"`
	Upsamplers   []*Sampler     `weight:"upsamplers"`
}

// Sampler is a convolution that halves the image, or follows its doubling.
type Sampler struct {
	Conv *nn.Conv2d `weight:"conv"`
}

// NewLevel declares layers blocks from in to out channels, multiples of groups, without a step to the next resolution:
// who wants one adds a Sampler. eps is that of the norms.
func NewLevel(in, out, layers, groups int, eps float64) *Level {
	l := &Level{}
	for range layers {
		l.Resnets = append(l.Resnets, NewResnetBlock(in, out, groups, eps))
		in = out
	}
	return l
}

// Forward maps [B, H, W, in] to [B, H, W, out], halved or doubled if the level has a sampler for it.
func (l *Level) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	for _, r := range l.Resnets {
		x = r.Forward(b, x)
	}
	for _, s := range l.Downsamplers {
		x = b.Tap(s, s.Conv.Forward(b, x))
	}
	for _, s := range l.Upsamplers {
		x = b.Tap(s, s.Conv.Fused(b, nn.Source{X: x, Height: 2 * x.Dim(1), Width: 2 * x.Dim(2)}, nn.Epilogue{}))
	}
	return b.Tap(l, x)
}

// MidBlock is the lowest resolution.
type MidBlock struct {
	Attentions []*Attention   `weight:"attentions"` // one, or none
	Resnets    []*ResnetBlock `weight:"resnets"`
}

// NewMidBlock declares the lowest resolution's blocks of the given channels, a multiple of groups, with attention or
// without. eps is that of the norms.
func NewMidBlock(channels, groups int, attention bool, eps float64) *MidBlock {
	resnet := func() *ResnetBlock { return NewResnetBlock(channels, channels, groups, eps) }
	m := &MidBlock{Resnets: []*ResnetBlock{resnet(), resnet()}}
	if attention {
		m.Attentions = []*Attention{NewAttention(channels, groups, eps)}
	}
	return m
}

// Forward keeps the shape [B, H, W, C].
func (m *MidBlock) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	x = m.Resnets[0].Forward(b, x)
	for _, a := range m.Attentions {
		x = a.Forward(b, x)
	}
	return b.Tap(m, m.Resnets[1].Forward(b, x))
}

// ResnetBlock is two convolutions without a time embedding.
type ResnetBlock struct {
	Norm1        *nn.GroupNorm `weight:"norm1"`
	Conv1        *nn.Conv2d    `weight:"conv1"`
	Norm2        *nn.GroupNorm `weight:"norm2"`
	Conv2        *nn.Conv2d    `weight:"conv2"`
	ConvShortcut *nn.Conv2d    `weight:"conv_shortcut"` // nil where in and out are alike
}

// NewResnetBlock declares a block from in to out channels, both multiples of groups. eps is that of its norms.
func NewResnetBlock(in, out, groups int, eps float64) *ResnetBlock {
	r := &ResnetBlock{
		Norm1: nn.NewGroupNorm(groups, in, eps), Conv1: nn.NewConv2d(in, out, 3),
		Norm2: nn.NewGroupNorm(groups, out, eps), Conv2: nn.NewConv2d(out, out, 3),
	}
	if in != out {
		r.ConvShortcut = nn.NewConv2d(in, out, 1)
	}
	return r
}

// Forward maps [B, H, W, in] to [B, H, W, out].
func (r *ResnetBlock) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	h := r.Conv1.Forward(b, r.Norm1.Forward(b, x, nil, kernels.SiLU))
	h = r.Norm2.Forward(b, h, nil, kernels.SiLU)
	if r.ConvShortcut != nil {
		x = r.ConvShortcut.Forward(b, x)
	}
	return b.Tap(r, r.Conv2.Fused(b, nn.Source{X: h}, nn.Epilogue{Residual: x}))
}

// Attention is self-attention over the image's positions with one head of all channels.
type Attention struct {
	GroupNorm *nn.GroupNorm `weight:"group_norm"`
	ToQ       *nn.Linear    `weight:"to_q"`
	ToK       *nn.Linear    `weight:"to_k"`
	ToV       *nn.Linear    `weight:"to_v"`
	ToOut     *nn.Linear    `weight:"to_out.0"`
}

// NewAttention declares attention of the given channels, a multiple of groups. eps is that of its norm.
func NewAttention(channels, groups int, eps float64) *Attention {
	linear := func() *nn.Linear { return nn.NewLinear(channels, channels, true) }
	return &Attention{GroupNorm: nn.NewGroupNorm(groups, channels, eps), ToQ: linear(), ToK: linear(), ToV: linear(), ToOut: linear()}
}

// Forward keeps the shape [B, H, W, C].
func (a *Attention) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	h := a.GroupNorm.Forward(b, x, nil, kernels.Identity)
	q, k := a.ToQ.Forward(b, h), a.ToK.Forward(b, h)
	b.TapAttention(a, q, k, 1, false)
	h = b.Attention(q, k, a.ToV.Forward(b, h), 1, false)
	return b.Tap(a, a.ToOut.Fused(b, h, nn.Epilogue{Residual: x}))
}
