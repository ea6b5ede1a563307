package controlnet

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn/weights"
)

// Fits checks that a checkpoint has as many modules as the configuration counts, and tensors as large as it says, so
// that New declares no more than there is. file is the name that errors, each a *weights.ConfigError, give the
// configuration.
func (c Config) Fits(src kernels.Source, file string) error {
	b := weights.NewBounds(src, file)
	u := c.UNet
	if err := b.Count("block_out_channels (levels)", len(u.BlockOutChannels), 0, "down_blocks"); err != nil {
		return err
	}
	for i := range u.BlockOutChannels {
		if err := c.levelFits(b, i); err != nil {
			return err
		}
	}
	if u.MidBlockType == unet.CrossAttnMid {
		depth := u.TransformerLayers.At(len(u.BlockOutChannels) - 1)[0]
		if err := b.Count("transformer_layers_per_block", depth, 0, "mid_block.attentions.0.transformer_blocks"); err != nil {
			return err
		}
	}
	if c.Union() {
		if err := b.Count("num_trans_layer", c.FusedLayers, 0, "transformer_layes"); err != nil {
			return err
		}
	}
	return c.sizesFit(b)
}

func (c Config) levelFits(b *weights.Bounds, level int) error {
	u, path := c.UNet, fmt.Sprintf("down_blocks.%d", level)
	layers := u.LayersPerBlock.At(level)
	if err := b.Count("layers_per_block", layers, 0, path+".resnets"); err != nil {
		return err
	}
	if !strings.HasPrefix(u.DownBlockTypes[level], "CrossAttn") {
		return nil
	}
	if !b.Has(path + ".attentions") {
		return b.Refuse("down_block_types", u.DownBlockTypes[level], "DownBlock2D, since the weights have no %s.attentions", path)
	}
	for j := range layers {
		if err := b.Count("transformer_layers_per_block", u.TransformerLayers.At(level).At(j), 0, fmt.Sprintf("%s.attentions.%d.transformer_blocks", path, j)); err != nil {
			return err
		}
	}
	return nil
}

// sizesFit checks every size by a tensor that has it.
func (c Config) sizesFit(b *weights.Bounds) error {
	u := c.UNet
	sizes := []weights.Size{
		weights.NewSize("in_channels", u.InChannels, "conv_in.weight", 1),
		weights.NewSize("block_out_channels", u.BlockOutChannels[0], "conv_in.weight", 0),
		weights.NewSize("time_embedding_dim", int(u.TimeEmbeddingDim), "time_embedding.linear_1.weight", 0),
		weights.NewSize("projection_class_embeddings_input_dim", u.ProjectionInputDim, "add_embedding.linear_1.weight", 1),
		weights.NewSize("addition_time_embed_dim", u.AdditionTimeDim, "add_embedding.linear_1.weight", 1),
		weights.NewSize("num_control_type", c.ControlTypes, "task_embedding", 0),
		weights.NewSize("conditioning_embedding_out_channels", c.HintChannels[0], "controlnet_cond_embedding.conv_in.weight", 0),
		weights.NewSize("cross_attention_dim", u.CrossAttentionDim.At(len(u.BlockOutChannels)-1), "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 1),
	}
	for i, n := range c.HintChannels[1:] {
		sizes = append(sizes, weights.NewSize("conditioning_embedding_out_channels", n, fmt.Sprintf("controlnet_cond_embedding.blocks.%d.weight", 2*i+1), 0))
	}
	for i, n := range u.BlockOutChannels {
		sizes = append(sizes,
			weights.NewSize("block_out_channels", n, fmt.Sprintf("down_blocks.%d.resnets.0.conv1.weight", i), 0),
			weights.NewSize("cross_attention_dim", u.CrossAttentionDim.At(i), fmt.Sprintf("down_blocks.%d.attentions.0.transformer_blocks.0.attn2.to_k.weight", i), 1))
	}
	return b.Sizes(sizes...)
}
