package unet

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/nn"
)

// ImagePrompt is keys and values that a cross-attention reads beside those of the prompt: IP-Adapter's, its scale among
// the values.
type ImagePrompt struct {
	K, V *nn.Value // [B, T, channels]
	Mask *nn.Value // [B, positions], which multiplies what is attended to; nil for none
}

// CrossAttention is one of a UNet's attentions to the prompt embeddings.
type CrossAttention struct {
	Path     string // of the transformer, such as "down_blocks.1.attentions.0"
	Channels int
	Level    int // of the resolution: the latents', halved so many times
}

// CrossAttentions are those of the configuration in the order in which diffusers registers them: of the way down, of the
// way up, of the middle. IP-Adapters' files have that order. It agrees with what New declares, and declares nothing.
func (c Config) CrossAttentions() []CrossAttention {
	var all []CrossAttention
	add := func(path string, level, layers int, depths PerLevel) {
		for j := range layers {
			for range depths.At(j) {
				all = append(all, CrossAttention{fmt.Sprintf("%s.attentions.%d", path, j), c.BlockOutChannels[level], level})
			}
		}
	}
	last := len(c.BlockOutChannels) - 1
	for i := range c.BlockOutChannels {
		if c.attends(i) {
			add(fmt.Sprintf("down_blocks.%d", i), i, c.LayersPerBlock.At(i), c.TransformerLayers.At(i))
		}
	}
	for i, blockType := range c.UpBlockTypes {
		if strings.HasPrefix(blockType, crossAttention) {
			add(fmt.Sprintf("up_blocks.%d", i), last-i, c.LayersPerBlock.At(last-i)+1, c.upDepths(i))
		}
	}
	if c.MidBlockType == CrossAttnMid {
		add("mid_block", last, 1, c.TransformerLayers.At(last)[:1])
	}
	return all
}

// eachBlock calls f with every transformer's path, its level, and each of its blocks.
func (m *Model) eachBlock(f func(path string, level, i int, block *TransformerBlock)) {
	each := func(path string, level int, transformers []*Transformer) {
		for j, t := range transformers {
			for i, block := range t.Blocks {
				f(fmt.Sprintf("%s.attentions.%d", path, j), level, i, block)
			}
		}
	}
	for i, l := range m.DownBlocks {
		each(fmt.Sprintf("down_blocks.%d", i), i, l.Attentions)
	}
	last := len(m.DownBlocks) - 1
	for i, l := range m.UpBlocks {
		each(fmt.Sprintf("up_blocks.%d", i), last-i, l.Attentions)
	}
	if m.MidBlock != nil {
		each("mid_block", last, m.MidBlock.Attentions)
	}
}

// attachImages gives every cross-attention what it reads of images.
func (m *Model) attachImages(b *nn.Builder, images [][]ImagePrompt) {
	if images == nil {
		return
	}
	i := 0
	m.eachBlock(func(_ string, _, _ int, block *TransformerBlock) {
		if i < len(images) {
			b.Attach(block.Attn2, images[i])
		}
		i++
	})
	if i != len(images) {
		b.Fail("image prompts for %d cross-attentions: must be for %d", len(images), i)
	}
}

// attendImages adds attention of queries q to images to y. Source: diffusers models/attention_processor.py,
// IPAdapterAttnProcessor2_0.
func (a *Attention) attendImages(b *nn.Builder, q, y *nn.Value) *nn.Value {
	prompts, _ := b.Attached(a).([]ImagePrompt)
	for _, p := range prompts {
		z := b.Attention(q, p.K, p.V, a.heads, false)
		if p.Mask != nil {
			y = b.AddMasked(y, z, p.Mask)
		} else {
			y = b.Add(y, z)
		}
	}
	return y
}
