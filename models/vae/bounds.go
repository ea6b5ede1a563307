package vae

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

const (
	maxLevels = 14      // a factor of 8192 between pixels and latents
	maxSample = 1 << 16 // pixels a side of a tile
)

// Fits checks that a checkpoint has as many modules as the configuration counts, and tensors as large as it says, so
// that New declares no more than there is. file is the name that errors, each a *weights.ConfigError, give the
// configuration.
func (c Config) Fits(src kernels.Source, file string) error {
	b := weights.NewBounds(src, file)
	n := len(c.BlockOutChannels)
	if n > maxLevels {
		return b.Refuse("block_out_channels (levels)", n, "1 to %d", maxLevels)
	}
	if c.SampleSize > maxSample {
		return b.Refuse("sample_size", c.SampleSize, "at most %d", maxSample)
	}
	for _, list := range []string{"encoder.down_blocks", "decoder.up_blocks"} {
		if err := b.Count("block_out_channels (levels)", n, 0, list); err != nil {
			return err
		}
	}
	for i, channels := range c.BlockOutChannels {
		if err := b.Count("layers_per_block", c.LayersPerBlock, 0, fmt.Sprintf("encoder.down_blocks.%d.resnets", i)); err != nil {
			return err
		}
		if err := b.Count("layers_per_block", c.LayersPerBlock, 1, fmt.Sprintf("decoder.up_blocks.%d.resnets", i)); err != nil {
			return err
		}
		if err := b.Sizes(weights.NewSize("block_out_channels", channels, fmt.Sprintf("encoder.down_blocks.%d.resnets.0.conv1.weight", i), 0)); err != nil {
			return err
		}
	}
	return b.Sizes(weights.NewSize("latent_channels", c.LatentChannels, "decoder.conv_in.weight", 1))
}
