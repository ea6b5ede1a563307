// Package unet is the denoising network of SDXL: base, refiner, and other configurations of the class.
//
// Source: diffusers 0.42 models/unets/unet_2d_condition.py and unet_2d_blocks.py.
package unet

import (
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
)

// Model is the tensors of a UNet under their checkpoint names.
type Model struct {
	config        Config
	ConvIn        *nn.Conv2d         `weight:"conv_in"`
	TimeEmbedding *TimestepEmbedding `weight:"time_embedding"`
	AddEmbedding  *TimestepEmbedding `weight:"add_embedding"`
	DownBlocks    []*Level           `weight:"down_blocks"`
	MidBlock      *MidBlock          `weight:"mid_block"` // nil in a UNet without
	UpBlocks      []*Level           `weight:"up_blocks"`
	ConvNormOut   *nn.GroupNorm      `weight:"conv_norm_out"`
	ConvOut       *nn.Conv2d         `weight:"conv_out"`

	// Modules of the class that no configuration which ParseConfig takes has: tensors of theirs mean that it is not the
	// checkpoint's own.
	ClassEmbedding *nn.Linear `weight:"class_embedding"`
	EncoderHidProj *nn.Linear `weight:"encoder_hid_proj"`
	PositionNet    *nn.Linear `weight:"position_net"`
}

// New declares the model of a configuration.
func New(c Config) *Model {
	channels, n := c.BlockOutChannels, len(c.BlockOutChannels)
	m := &Model{
		config:        c,
		ConvIn:        nn.NewConv2d(c.InChannels, channels[0], c.ConvInKernel),
		TimeEmbedding: NewTimestepEmbedding(channels[0], c.EmbeddingDim(), int(c.TimeCondProjDim)),
		AddEmbedding:  NewTimestepEmbedding(c.ProjectionInputDim, c.EmbeddingDim(), 0),
		ConvNormOut:   nn.NewGroupNorm(c.NormNumGroups, channels[0], c.NormEps),
		ConvOut:       nn.NewConv2d(channels[0], c.OutChannels, c.ConvOutKernel),
	}
	skips := []int{channels[0]} // channels of what the way down leaves for the way up
	in := channels[0]
	for i, out := range channels {
		level := c.level(i, c.DownBlockTypes[i], in, out)
		level.Resample = i < n-1
		m.DownBlocks = append(m.DownBlocks, NewDownLevel(level))
		skips = append(skips, level.skips()...)
		in = out
	}
	switch middle := c.level(n-1, crossAttention, in, in); c.MidBlockType {
	case CrossAttnMid:
		m.MidBlock = NewMidBlock(middle)
	case PlainMid:
		m.MidBlock = NewPlainMidBlock(middle)
	}
	for i := range n {
		from := n - 1 - i // the level of the way down that this one mirrors
		out := channels[from]
		level := c.level(from, c.UpBlockTypes[i], in, out)
		level.Layers++
		level.Resample = i < n-1
		level.setDepths(c.upDepths(i))
		m.UpBlocks = append(m.UpBlocks, NewUpLevel(level, skips))
		skips = skips[:len(skips)-level.Layers]
		in = out
	}
	return m
}

// crossAttention begins the names of the block types that have attention.
const crossAttention = "CrossAttn"

// attends reports whether a level of the way down has attention.
func (c Config) attends(i int) bool { return strings.HasPrefix(c.DownBlockTypes[i], crossAttention) }

// level is what the configuration says of a level, for a block of the given type.
func (c Config) level(i int, blockType string, in, out int) LevelConfig {
	l := LevelConfig{
		In: in, Out: out, Layers: c.LayersPerBlock.At(i), Embedding: c.EmbeddingDim(), Groups: c.NormNumGroups, Eps: c.NormEps,
		Attention: strings.HasPrefix(blockType, crossAttention),
		Heads:     c.AttentionHeads.At(i), Context: c.CrossAttentionDim.At(i),
	}
	l.setDepths(c.TransformerLayers.At(i))
	return l
}

// upDepths are the transformer blocks of block i of the way up.
func (c Config) upDepths(i int) PerLevel {
	if len(c.ReverseLayers) > 0 {
		return c.ReverseLayers[i]
	}
	return c.TransformerLayers.At(len(c.BlockOutChannels) - 1 - i)
}

// setDepths takes one number for all transformers of the level or one for each; the middle has the first.
func (c *LevelConfig) setDepths(depths PerLevel) {
	c.Depth, c.Depths = depths[0], nil
	if len(depths) > 1 {
		c.Depths = depths
	}
}

// Inputs of the UNet. B is its batch: the halves of classifier-free guidance both count. In parentheses is what
// diffusers calls them.
type Inputs struct {
	Sample    *nn.Value // the latents, scaled (sample): [B, H, W, in_channels]
	Timestep  *nn.Value // as the scheduler numbers it (timestep): [B, 1]
	Text      *nn.Value // prompt embeddings (encoder_hidden_states): [B, S, cross_attention_dim]
	Pooled    *nn.Value // pooled prompt embeddings (text_embeds): [B, P]
	TimeIDs   *nn.Value // micro-conditioning, the added time ids (time_ids): [B, 6], or [B, 5] for a refiner
	Condition *nn.Value // guidance embedding (timestep_cond): [B, time_cond_proj_dim]; nil where the model has none

	// Images are what IP-Adapters add to each of Config.CrossAttentions; nil is none.
	Images [][]ImagePrompt
	// Residuals of ControlNets (down_block_additional_residuals, then mid_block_additional_residual), one for each of
	// Config.Residuals with B before its shape; nil is none.
	Residuals []*nn.Value
	// Features of T2I-Adapters (down_intrablock_additional_residuals), one for each of Config.Features with B before its
	// shape; nil is none.
	Features []*nn.Value
	// FreeU are FreeU's masks, one for each of the first blocks of the way up (enable_freeu); nil is none.
	FreeU []*FreeU
	// Perturbed says of each of Config.SelfAttentions whether it is the identity, which leaves the values as they are
	// (PAGIdentitySelfAttnProcessor2_0); nil is none.
	Perturbed []bool
}

// Forward predicts the noise, or v: [B, H, W, out_channels].
func (m *Model) Forward(b *nn.Builder, in Inputs) *nn.Value {
	emb := m.Embed(b, in) // [B, T]
	emb = b.Activate(emb, kernels.SiLU)
	m.attachImages(b, in.Images)
	m.attachPerturbed(b, in.Perturbed)

	x := m.ConvIn.Forward(b, in.Sample)
	skips := []*nn.Value{x}
	for i, level := range m.DownBlocks {
		x, skips = level.DownAdapted(b, x, emb, in.Text, in.feature(i), skips)
	}
	x = m.MidBlock.Forward(b, x, emb, in.Text)
	if f := in.feature(len(m.DownBlocks)); f != nil {
		x = b.Add(x, f)
	}
	x = in.addResiduals(b, x, skips)
	for i, level := range m.UpBlocks {
		x, skips = level.UpFiltered(b, x, emb, in.Text, in.freeU(i), skips)
	}
	if len(skips) > 0 {
		b.Fail("%d skip connections are left over", len(skips))
	}
	x = m.ConvNormOut.Forward(b, x, nil, kernels.SiLU)
	return m.ConvOut.Forward(b, x)
}

// Embed is the time embedding, with the conditioning on micro-conditioning and pooled prompt embeddings added: [B, T].
// The blocks take silu of it.
func (m *Model) Embed(b *nn.Builder, in Inputs) *nn.Value {
	c := m.config
	sinusoid := func(t *nn.Value, dim int) *nn.Value {
		return b.Sinusoid(t, kernels.Sinusoid{Dim: dim, CosFirst: c.FlipSinToCos, FreqShift: c.FreqShift})
	}
	added := b.Concat(in.Pooled, sinusoid(in.TimeIDs, c.AdditionTimeDim))
	added = m.AddEmbedding.Forward(b, added, nil, nil)
	return m.TimeEmbedding.Forward(b, sinusoid(in.Timestep, c.BlockOutChannels[0]), in.Condition, added)
}
