package unet

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Fits checks that a checkpoint has as many modules as the configuration counts, and tensors as large as it says, so
// that New declares no more than there is. file is the name that errors, each a *weights.ConfigError, give the
// configuration.
func (c Config) Fits(src kernels.Source, file string) error {
	b := weights.NewBounds(src, file)
	n := len(c.BlockOutChannels)
	for _, list := range []string{"down_blocks", "up_blocks"} {
		if err := b.Count("block_out_channels (levels)", n, 0, list); err != nil {
			return err
		}
	}
	for i := range n {
		if err := c.levelFits(b, i); err != nil {
			return err
		}
	}
	if c.MidBlockType == CrossAttnMid {
		if err := b.Count("transformer_layers_per_block", c.TransformerLayers.At(n - 1)[0], 0, "mid_block.attentions.0.transformer_blocks"); err != nil {
			return err
		}
	}
	return c.sizesFit(b)
}

// levelFits checks the modules of one level, on the way down and up.
func (c Config) levelFits(b *weights.Bounds, level int) error {
	layers, depth := c.LayersPerBlock.At(level), c.TransformerLayers.At(level)
	down, up := fmt.Sprintf("down_blocks.%d", level), len(c.BlockOutChannels)-1-level
	upDepth, upKey := depth, "transformer_layers_per_block"
	if len(c.ReverseLayers) > 0 {
		upDepth, upKey = c.ReverseLayers[up], "reverse_transformer_layers_per_block"
	}
	if err := c.sideFits(b, down, layers, 0, "down_block_types", c.DownBlockTypes[level], "transformer_layers_per_block", depth); err != nil {
		return err
	}
	return c.sideFits(b, fmt.Sprintf("up_blocks.%d", up), layers, 1, "up_block_types", c.UpBlockTypes[up], upKey, upDepth)
}

// sideFits checks a block of layers and more resnets, each with an attention of so many transformer blocks if the
// block's type has them.
func (c Config) sideFits(b *weights.Bounds, path string, layers, more int, typeKey, blockType, depthKey string, depths PerLevel) error {
	if err := b.Count("layers_per_block", layers, more, path+".resnets"); err != nil {
		return err
	}
	if !strings.HasPrefix(blockType, "CrossAttn") {
		return nil
	}
	if !b.Has(path + ".attentions") {
		return b.Refuse(typeKey, blockType, "%s, since the weights have no %s.attentions", strings.TrimPrefix(blockType, "CrossAttn"), path)
	}
	for j := range layers + more {
		if err := b.Count(depthKey, depths.At(j), 0, fmt.Sprintf("%s.attentions.%d.transformer_blocks", path, j)); err != nil {
			return err
		}
	}
	return nil
}

// sizesFit checks every size by a tensor that has it.
func (c Config) sizesFit(b *weights.Bounds) error {
	sizes := []weights.Size{
		weights.NewSize("in_channels", c.InChannels, "conv_in.weight", 1),
		weights.NewSize("conv_in_kernel", c.ConvInKernel, "conv_in.weight", 2),
		weights.NewSize("block_out_channels", c.BlockOutChannels[0], "conv_in.weight", 0),
		weights.NewSize("out_channels", c.OutChannels, "conv_out.weight", 0),
		weights.NewSize("conv_out_kernel", c.ConvOutKernel, "conv_out.weight", 2),
		weights.NewSize("time_embedding_dim", int(c.TimeEmbeddingDim), "time_embedding.linear_1.weight", 0),
		weights.NewSize("time_cond_proj_dim", int(c.TimeCondProjDim), "time_embedding.cond_proj.weight", 1),
		weights.NewSize("projection_class_embeddings_input_dim", c.ProjectionInputDim, "add_embedding.linear_1.weight", 1),
		weights.NewSize("addition_time_embed_dim", c.AdditionTimeDim, "add_embedding.linear_1.weight", 1),
		weights.NewSize("cross_attention_dim", c.CrossAttentionDim.At(len(c.BlockOutChannels)-1), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1),
	}
	for i, channels := range c.BlockOutChannels {
		sizes = append(sizes,
			weights.NewSize("block_out_channels", channels, fmt.Sprintf("down_blocks.%d.resnets.0.conv1.weight", i), 0),
			weights.NewSize("cross_attention_dim", c.CrossAttentionDim.At(i), fmt.Sprintf("down_blocks.%d.attentions.0.transformer_blocks.0.attn2.to_k.weight", i), 1))
	}
	if err := b.Sizes(sizes...); err != nil {
		return err
	}
	if c.TimeCondProjDim > 0 && !b.Has("time_embedding.cond_proj") {
		return b.Refuse("time_cond_proj_dim", c.TimeCondProjDim, "null, since the weights have no time_embedding.cond_proj")
	}
	return nil
}
