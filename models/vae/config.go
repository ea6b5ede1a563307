package vae

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/goxl/goxl/nn/weights"
)

// Config is the part of an AutoencoderKL's config.json that shapes it.
type Config struct {
	InChannels       int       `json:"in_channels"`  // 3
	OutChannels      int       `json:"out_channels"` // 3
	DownBlockTypes   []string  `json:"down_block_types"`
	UpBlockTypes     []string  `json:"up_block_types"`
	BlockOutChannels []int     `json:"block_out_channels"`
	LayersPerBlock   int       `json:"layers_per_block"`
	LatentChannels   int       `json:"latent_channels"`
	NormNumGroups    int       `json:"norm_num_groups"`
	SampleSize       int       `json:"-"` // pixels a side of a tile; the file's sample_size, or the first of two
	ScalingFactor    float64   `json:"scaling_factor"`
	LatentsMean      []float64 `json:"latents_mean"` // nil, or one a latent channel
	LatentsStd       []float64 `json:"latents_std"`
	UseQuantConv     bool      `json:"use_quant_conv"`
	UsePostQuantConv bool      `json:"use_post_quant_conv"`
	MidBlockAttn     bool      `json:"mid_block_add_attention"`

	Unknown []string `json:"-"` // keys of the file that AutoencoderKL does not have; they change nothing

	shift int // see rescaled
}

// sampleSize is the file's sample_size: a number, or height and width.
type sampleSize int

// UnmarshalJSON takes either form; as in diffusers, tiles are as large as the first number says.
func (s *sampleSize) UnmarshalJSON(data []byte) error {
	var one int
	if json.Unmarshal(data, &one) == nil && string(data) != "null" {
		*s = sampleSize(one)
		return nil
	}
	var two []int
	if err := json.Unmarshal(data, &two); err != nil || len(two) == 0 {
		return fmt.Errorf("%s: must be a number or a list of two", data)
	}
	*s = sampleSize(two[0])
	return nil
}

// fixed are options that change the numbers, with the values that goxl computes; the first is diffusers' default.
// SDXL's pipelines ignore shift_factor, so that a value there would have no effect.
var fixed = map[string][]any{
	"act_fn":       {"silu", "swish"},
	"shift_factor": {nil, 0.},
}

// ParseConfig reads config.json; file is the name that errors give it. A value that changes the numbers and is not
// computed here is an error; keys that the class does not have are listed in Unknown. force_upcast has no effect where
// everything is computed in float32.
func ParseConfig(data []byte, file string) (Config, error) {
	c := Config{
		InChannels: 3, OutChannels: 3, DownBlockTypes: []string{"DownEncoderBlock2D"}, UpBlockTypes: []string{"UpDecoderBlock2D"},
		BlockOutChannels: []int{64}, LayersPerBlock: 1, LatentChannels: 4, NormNumGroups: 32, ScalingFactor: 0.18215,
		UseQuantConv: true, UsePostQuantConv: true, MidBlockAttn: true,
	}
	if err := weights.RequireFixed(data, file, "AutoencoderKL", fixed); err != nil {
		return c, err
	}
	content := struct {
		*Config
		Side sampleSize `json:"sample_size"`
	}{&c, 32}
	var err error
	if c.Unknown, err = weights.ParseConfig(data, file, &content, "act_fn", "shift_factor", "force_upcast"); err != nil {
		return c, err
	}
	c.SampleSize = int(content.Side)
	return c, c.validate(file)
}

func (c Config) validate(file string) error {
	bad := func(key string, value any, allowed string, args ...any) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: fmt.Sprintf(allowed, args...)}
	}
	levels := len(c.BlockOutChannels)
	switch {
	case levels == 0:
		return bad("block_out_channels", c.BlockOutChannels, "at least one level")
	case len(c.DownBlockTypes) != levels:
		return bad("down_block_types", c.DownBlockTypes, "%d names, as block_out_channels", levels)
	case len(c.UpBlockTypes) != levels:
		return bad("up_block_types", c.UpBlockTypes, "%d names, as block_out_channels", levels)
	case c.InChannels != 3:
		return bad("in_channels", c.InChannels, "3")
	case c.OutChannels != 3:
		return bad("out_channels", c.OutChannels, "3")
	case c.LayersPerBlock < 1:
		return bad("layers_per_block", c.LayersPerBlock, "positive")
	case c.LatentChannels < 1:
		return bad("latent_channels", c.LatentChannels, "positive")
	case !(c.ScalingFactor > 0):
		return bad("scaling_factor", c.ScalingFactor, "positive")
	case c.SampleSize < 1<<(levels-1):
		return bad("sample_size", c.SampleSize, "at least %d", 1<<(levels-1))
	case (c.LatentsMean == nil) != (c.LatentsStd == nil):
		return bad("latents_mean", c.LatentsMean, "given together with latents_std, or neither")
	case c.LatentsMean != nil && len(c.LatentsMean) != c.LatentChannels:
		return bad("latents_mean", c.LatentsMean, "%d values, one a latent channel", c.LatentChannels)
	case c.LatentsStd != nil && len(c.LatentsStd) != c.LatentChannels:
		return bad("latents_std", c.LatentsStd, "%d values, one a latent channel", c.LatentChannels)
	}
	for i, ch := range c.BlockOutChannels {
		if ch < 1 || c.NormNumGroups < 1 || ch%c.NormNumGroups != 0 {
			return bad("block_out_channels", ch, "a multiple of norm_num_groups %d", c.NormNumGroups)
		}
		if c.DownBlockTypes[i] != "DownEncoderBlock2D" {
			return bad("down_block_types", c.DownBlockTypes[i], "DownEncoderBlock2D")
		}
		if c.UpBlockTypes[i] != "UpDecoderBlock2D" {
			return bad("up_block_types", c.UpBlockTypes[i], "UpDecoderBlock2D")
		}
	}
	for _, s := range c.LatentsStd {
		if !(s > 0) {
			return bad("latents_std", s, "positive")
		}
	}
	return nil
}

// eps is that of every norm: they all read what is rescaled.
func (c Config) eps() float64 { return math.Ldexp(1e-6, -2*c.shift) }

// ScaleFactor is the pixels a side of a latent: 8 for SDXL.
func (c Config) ScaleFactor() int { return 1 << (len(c.BlockOutChannels) - 1) }
