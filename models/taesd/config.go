package taesd

import (
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// Config is the part of an AutoencoderTiny's config.json that shapes it. All widths of a half are alike: diffusers
// builds its convolutions so that no others can be computed.
type Config struct {
	InChannels              int     `json:"in_channels"`                // 3
	OutChannels             int     `json:"out_channels"`               // 3
	EncoderBlockOutChannels []int   `json:"encoder_block_out_channels"` // one a level, all alike
	DecoderBlockOutChannels []int   `json:"decoder_block_out_channels"` // one a level, all alike
	LatentChannels          int     `json:"latent_channels"`            // 4; 16 are TAESD3's and TAEF1's
	NumEncoderBlocks        []int   `json:"num_encoder_blocks"`         // of each level, from pixels to latents
	NumDecoderBlocks        []int   `json:"num_decoder_blocks"`         // of each level, from latents to pixels
	ScalingFactor           float64 `json:"scaling_factor"`             // 1: latents are the UNet's

	Unknown []string `json:"-"` // keys of the file that AutoencoderTiny does not have; they change nothing
}

// TAESDXL is the configuration of taesdxl, and of taesd, which is that of SD 1.5: their tensors are alike.
var TAESDXL = Config{
	InChannels: 3, OutChannels: 3, LatentChannels: 4, ScalingFactor: 1,
	EncoderBlockOutChannels: []int{64, 64, 64, 64}, DecoderBlockOutChannels: []int{64, 64, 64, 64},
	NumEncoderBlocks: []int{1, 3, 3, 3}, NumDecoderBlocks: []int{3, 3, 3, 1},
}

// fixed are options that change the numbers, with the values that goxl computes; the first is diffusers' default.
var fixed = map[string][]any{
	"act_fn":                    {"relu"},
	"upsample_fn":               {"nearest"},
	"upsampling_scaling_factor": {2.},
	"shift_factor":              {0., nil},
}

// ParseConfig reads config.json; file is the name that errors give it. A value that changes the numbers and is not
// computed here is an error; keys that the class does not have are listed in Unknown. latent_magnitude and latent_shift
// are those of latents stored as bytes, which nothing here does.
func ParseConfig(data []byte, file string) (Config, error) {
	c := TAESDXL
	if err := weights.RequireFixed(data, file, "AutoencoderTiny", fixed); err != nil {
		return c, err
	}
	ignored := []string{"latent_magnitude", "latent_shift", "force_upcast", "block_out_channels"}
	for key := range fixed {
		ignored = append(ignored, key)
	}
	var err error
	if c.Unknown, err = weights.ParseConfig(data, file, &c, ignored...); err != nil {
		return c, err
	}
	return c, c.validate(file)
}

const (
	maxLevels   = 8       // a factor of 128 between pixels and latents
	maxChannels = 1 << 12 // of a level
	maxBlocks   = 1 << 8  // of a level
)

func (c Config) validate(file string) error {
	bad := func(key string, value any, allowed string, args ...any) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: fmt.Sprintf(allowed, args...)}
	}
	switch {
	case c.InChannels != 3:
		return bad("in_channels", c.InChannels, "3")
	case c.OutChannels != 3:
		return bad("out_channels", c.OutChannels, "3")
	case c.LatentChannels < 1 || c.LatentChannels > maxChannels:
		return bad("latent_channels", c.LatentChannels, "1 to %d", maxChannels)
	case !(c.ScalingFactor > 0):
		return bad("scaling_factor", c.ScalingFactor, "positive")
	case len(c.NumDecoderBlocks) != len(c.NumEncoderBlocks):
		return bad("num_decoder_blocks", c.NumDecoderBlocks, "%d levels, as num_encoder_blocks", len(c.NumEncoderBlocks))
	}
	for _, half := range []struct {
		name           string
		widths, blocks []int
	}{{"encoder", c.EncoderBlockOutChannels, c.NumEncoderBlocks}, {"decoder", c.DecoderBlockOutChannels, c.NumDecoderBlocks}} {
		levels := len(half.blocks)
		if levels < 1 || levels > maxLevels {
			return bad("num_"+half.name+"_blocks", half.blocks, "1 to %d levels", maxLevels)
		}
		if len(half.widths) != levels {
			return bad(half.name+"_block_out_channels", half.widths, "%d widths, as num_%s_blocks has levels", levels, half.name)
		}
		for i := range levels {
			if w := half.widths[i]; w < 1 || w > maxChannels || w != half.widths[0] {
				return bad(half.name+"_block_out_channels", half.widths, "1 to %d, all alike", maxChannels)
			}
			if n := half.blocks[i]; n < 0 || n > maxBlocks {
				return bad("num_"+half.name+"_blocks", half.blocks, "0 to %d each", maxBlocks)
			}
		}
	}
	return nil
}

// ScaleFactor is the pixels a side of a latent: 8 for TAESDXL.
func (c Config) ScaleFactor() int { return 1 << (len(c.NumDecoderBlocks) - 1) }

// Fits checks that a checkpoint has tensors as large as the configuration says, so that New declares no more than there
// is. file is the name that errors, each a *weights.ConfigError, give the configuration.
func (c Config) Fits(src kernels.Source, file string) error {
	src = diffusersNames(src)
	b := weights.NewBounds(src, file)
	for _, half := range []struct {
		name           string
		widths, blocks []int
	}{{"encoder", c.EncoderBlockOutChannels, c.NumEncoderBlocks}, {"decoder", c.DecoderBlockOutChannels, c.NumDecoderBlocks}} {
		if !b.Has(half.name + ".layers") {
			continue
		}
		layers := 0
		for _, n := range half.blocks {
			layers += n + 1
		}
		if most := len(src.Names()); layers > most {
			return b.Refuse("num_"+half.name+"_blocks", half.blocks, "at most as many as there are tensors, %d", most)
		}
		if err := b.Sizes(weights.NewSize(half.name+"_block_out_channels", half.widths[0], half.name+".layers.0.weight", 0)); err != nil {
			return err
		}
	}
	return b.Sizes(weights.NewSize("latent_channels", c.LatentChannels, "decoder.layers.0.weight", 1))
}
