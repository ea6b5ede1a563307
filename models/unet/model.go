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
	MidBlock      *MidBlock          `weight:"mid_block"`
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
		TimeEmbedding: newTimestepEmbedding(channels[0], c.EmbeddingDim(), int(c.TimeCondProjDim)),
		AddEmbedding:  newTimestepEmbedding(c.ProjectionInputDim, c.EmbeddingDim(), 0),
		ConvNormOut:   nn.NewGroupNorm(c.NormNumGroups, channels[0], c.NormEps),
		ConvOut:       nn.NewConv2d(channels[0], c.OutChannels, c.ConvOutKernel),
	}
	skips := []int{channels[0]} // channels of what the way down leaves for the way up
	in := channels[0]
	for i, out := range channels {
		level := &Level{}
		for range c.LayersPerBlock.At(i) {
			level.add(c, i, c.DownBlockTypes[i], in, out, c.TransformerLayers.At(i))
			in = out
			skips = append(skips, out)
		}
		if i < n-1 {
			level.Downsamplers = []*Sampler{{Conv: nn.NewConv2d(out, out, 3)}}
			level.Downsamplers[0].Conv.Stride = 2
			skips = append(skips, out)
		}
		m.DownBlocks = append(m.DownBlocks, level)
	}
	m.MidBlock = &MidBlock{
		Resnets:    []*ResnetBlock{newResnet(c, in, in), newResnet(c, in, in)},
		Attentions: []*Transformer{newTransformer(c, in, c.AttentionHeads.At(n-1), c.TransformerLayers.At(n-1), c.CrossAttentionDim.At(n-1))},
	}
	for i := range n {
		from := n - 1 - i // the level of the way down that this one mirrors
		out := channels[from]
		depth := c.TransformerLayers.At(from)
		if len(c.ReverseLayers) > 0 {
			depth = c.ReverseLayers[i]
		}
		level := &Level{}
		for range c.LayersPerBlock.At(from) + 1 {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			level.add(c, from, c.UpBlockTypes[i], in+skip, out, depth)
			in = out
		}
		if i < n-1 {
			level.Upsamplers = []*Sampler{{Conv: nn.NewConv2d(out, out, 3)}}
		}
		m.UpBlocks = append(m.UpBlocks, level)
	}
	return m
}

// Inputs of one evaluation. B is the batch, guidance's two halves counted.
type Inputs struct {
	Sample    *nn.Value // [B, H, W, in_channels]
	Timestep  *nn.Value // [B, 1], as the scheduler numbers it
	Text      *nn.Value // [B, S, cross_attention_dim]
	Pooled    *nn.Value // [B, P]
	TimeIDs   *nn.Value // [B, 6], or [B, 5] for a refiner
	Condition *nn.Value // [B, time_cond_proj_dim], nil where the model has none
}

// Forward predicts the noise, or v: [B, H, W, out_channels].
func (m *Model) Forward(b *nn.Builder, in Inputs) *nn.Value {
	emb := m.embed(b, in) // [B, T]
	emb = b.Activate(emb, kernels.SiLU)

	x := m.ConvIn.Forward(b, in.Sample)
	skips := []*nn.Value{x}
	for _, level := range m.DownBlocks {
		x, skips = level.down(b, x, emb, in.Text, skips)
	}
	x = m.MidBlock.Forward(b, x, emb, in.Text)
	for _, level := range m.UpBlocks {
		x, skips = level.up(b, x, emb, in.Text, skips)
	}
	if len(skips) > 0 {
		b.Fail("%d skip connections are left over", len(skips))
	}
	x = m.ConvNormOut.Forward(b, x, nil, kernels.SiLU)
	return m.ConvOut.Forward(b, x)
}

// embed joins what the model is told of the step, the sizes and the prompt: [B, T].
func (m *Model) embed(b *nn.Builder, in Inputs) *nn.Value {
	c := m.config
	sinusoid := func(t *nn.Value, dim int) *nn.Value {
		return b.Sinusoid(t, kernels.Sinusoid{Dim: dim, CosFirst: c.FlipSinToCos, FreqShift: c.FreqShift})
	}
	sizes := b.Concat(in.Pooled, sinusoid(in.TimeIDs, c.AdditionTimeDim))
	added := m.AddEmbedding.Forward(b, sizes, nil, nil)
	return m.TimeEmbedding.Forward(b, sinusoid(in.Timestep, c.BlockOutChannels[0]), in.Condition, added)
}

// TimestepEmbedding is an MLP. Source: diffusers models/embeddings.py.
type TimestepEmbedding struct {
	Linear1  *nn.Linear `weight:"linear_1"`
	CondProj *nn.Linear `weight:"cond_proj"` // nil without
	Linear2  *nn.Linear `weight:"linear_2"`
}

func newTimestepEmbedding(in, out, condition int) *TimestepEmbedding {
	e := &TimestepEmbedding{Linear1: nn.NewLinear(in, out, true), Linear2: nn.NewLinear(out, out, true)}
	if condition > 0 {
		e.CondProj = nn.NewLinear(condition, in, false)
	}
	return e
}

// Forward maps x [B, in] to [B, out], plus residual if there is one. Taps see it before residual is added.
func (e *TimestepEmbedding) Forward(b *nn.Builder, x, condition, residual *nn.Value) *nn.Value {
	if e.CondProj != nil {
		x = e.CondProj.Fused(b, condition, nn.Epilogue{Residual: x})
	}
	x = e.Linear1.Fused(b, x, nn.Epilogue{Act: kernels.SiLU})
	return e.Linear2.Fused(b, x, nn.Epilogue{Residual: residual, Ends: e})
}

// Level is one resolution on the way down or up; Attentions is empty in the plain block types.
type Level struct {
	Attentions   []*Transformer `weight:"attentions"`
	Resnets      []*ResnetBlock `weight:"resnets"`
	Downsamplers []*Sampler     `weight:"downsamplers"`
	Upsamplers   []*Sampler     `weight:"upsamplers"`
}

// Sampler is a convolution that halves the image, or follows its doubling.
type Sampler struct {
	Conv *nn.Conv2d `weight:"conv"`
}

func (l *Level) add(c Config, level int, blockType string, in, out, depth int) {
	l.Resnets = append(l.Resnets, newResnet(c, in, out))
	if strings.HasPrefix(blockType, "CrossAttn") {
		l.Attentions = append(l.Attentions, newTransformer(c, out, c.AttentionHeads.At(level), depth, c.CrossAttentionDim.At(level)))
	}
}

// down returns the image, halved unless this is the last level, and skips with the level's results appended.
func (l *Level) down(b *nn.Builder, x, emb, text *nn.Value, skips []*nn.Value) (*nn.Value, []*nn.Value) {
	for j, resnet := range l.Resnets {
		x = resnet.Forward(b, x, nil, emb)
		if len(l.Attentions) > 0 {
			x = l.Attentions[j].Forward(b, x, text)
		}
		skips = append(skips, x)
	}
	for _, s := range l.Downsamplers {
		x = b.Tap(s, s.Conv.Forward(b, x))
		skips = append(skips, x)
	}
	return b.Tap(l, x), skips
}

// up consumes one skip a resnet and resizes to the next one's size, which is double or, of an odd image, one less.
func (l *Level) up(b *nn.Builder, x, emb, text *nn.Value, skips []*nn.Value) (*nn.Value, []*nn.Value) {
	for j, resnet := range l.Resnets {
		x = resnet.Forward(b, x, skips[len(skips)-1], emb)
		skips = skips[:len(skips)-1]
		if len(l.Attentions) > 0 {
			x = l.Attentions[j].Forward(b, x, text)
		}
	}
	for _, s := range l.Upsamplers {
		next := skips[len(skips)-1]
		x = b.Tap(s, s.Conv.Fused(b, nn.Source{X: x, Height: next.Dim(1), Width: next.Dim(2)}, nn.Epilogue{}))
	}
	return b.Tap(l, x), skips
}

// MidBlock is the lowest resolution.
type MidBlock struct {
	Attentions []*Transformer `weight:"attentions"`
	Resnets    []*ResnetBlock `weight:"resnets"`
}

// Forward keeps the shape.
func (m *MidBlock) Forward(b *nn.Builder, x, emb, text *nn.Value) *nn.Value {
	x = m.Resnets[0].Forward(b, x, nil, emb)
	x = m.Attentions[0].Forward(b, x, text)
	return b.Tap(m, m.Resnets[1].Forward(b, x, nil, emb))
}
