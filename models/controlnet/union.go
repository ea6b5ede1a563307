package controlnet

import (
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// FusionBlock is a transformer block over the mean of a control image's features. Source: diffusers
// ResidualAttentionBlock.
//
// There, attention takes the batch for the sequence (torch's batch_first is false), and so did the published weights'
// training. All rows of a batch have the same control images: attention over equal rows is the row's own value, so that
// queries and keys say nothing and are not read.
type FusionBlock struct {
	Norm1 *nn.LayerNorm `weight:"ln_1"`
	Value *nn.Linear    `weight:"attn.value"` // the last third of in_proj; see valueRows
	Out   *nn.Linear    `weight:"attn.out_proj"`
	Norm2 *nn.LayerNorm `weight:"ln_2"`
	Up    *nn.Linear    `weight:"mlp.c_fc"`
	Down  *nn.Linear    `weight:"mlp.c_proj"`
}

// NewFusionBlock declares a block of so many channels.
func NewFusionBlock(channels int) *FusionBlock {
	const eps = 1e-5
	return &FusionBlock{
		Norm1: nn.NewLayerNorm(channels, eps), Value: nn.NewLinear(channels, channels, true), Out: nn.NewLinear(channels, channels, true),
		Norm2: nn.NewLayerNorm(channels, eps), Up: nn.NewLinear(channels, 4*channels, true), Down: nn.NewLinear(4*channels, channels, true),
	}
}

// Forward keeps the shape of x [..., C].
func (f *FusionBlock) Forward(b *nn.Builder, x *nn.Value) *nn.Value {
	x = f.Out.Fused(b, f.Value.Forward(b, f.Norm1.Forward(b, x)), nn.Epilogue{Residual: x})
	h := f.Up.Fused(b, f.Norm2.Forward(b, x), nn.Epilogue{Act: kernels.QuickGELU})
	return b.Tap(f, f.Down.Fused(b, h, nn.Epilogue{Residual: x}))
}

func (m *Model) declareFusion() {
	c := m.config
	m.TypeEmbedding = unet.NewTimestepEmbedding(c.UNet.AdditionTimeDim*c.ControlTypes, c.UNet.EmbeddingDim(), 0)
	for range c.FusedLayers {
		m.Fusion = append(m.Fusion, NewFusionBlock(c.FusedChannels))
	}
	m.FusionOut = nn.NewLinear(c.FusedChannels, c.FusedOut, true)
}

// embedTypes embeds which kinds of control images there are: [B, T].
func (m *Model) embedTypes(b *nn.Builder, types *nn.Value) *nn.Value {
	c := m.config.UNet
	x := b.Sinusoid(types, kernels.Sinusoid{Dim: c.AdditionTimeDim, CosFirst: c.FlipSinToCos, FreqShift: c.FreqShift})
	return m.TypeEmbedding.Forward(b, x, nil, nil)
}

// fuse adds up the features of the control images, each with what the transformer makes of their mean and its kind:
// [1, h, w, C]. With in.Scales, features, means and what is made of them are scaled, as in ControlNetUnionModel where
// there are several images.
func (m *Model) fuse(b *nn.Builder, in Inputs) *nn.Value {
	var sum *nn.Value
	for i, image := range in.Hints {
		scaled := func(x *nn.Value) *nn.Value {
			if in.Scales == nil {
				return x
			}
			return b.ScaleRepeat(x, in.Scales[i], 1)
		}
		features := m.Hint.Forward(b, image)
		token := scaled(b.Add(mean(b, features, in.Zeros(1, 1, 1, features.Dim(3))), in.Tasks[i]))
		for _, block := range m.Fusion {
			token = block.Forward(b, token)
		}
		alpha := scaled(m.FusionOut.Forward(b, token))
		x := b.Add(scaled(features), b.Resize(alpha, features.Dim(1), features.Dim(2)))
		if sum == nil {
			sum = x
		} else {
			sum = b.Add(sum, x)
		}
	}
	return sum
}
