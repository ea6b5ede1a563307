package unet

import (
	"fmt"

	"github.com/goxl/goxl/nn/weights"
)

// Config is the part of a UNet2DConditionModel's config.json that shapes it. Keys that goxl knows with one value only
// are in fixed.
type Config struct {
	SampleSize         PerLevel `json:"sample_size"`
	InChannels         int      `json:"in_channels"`
	OutChannels        int      `json:"out_channels"`
	DownBlockTypes     []string `json:"down_block_types"`
	UpBlockTypes       []string `json:"up_block_types"`
	BlockOutChannels   []int    `json:"block_out_channels"`
	LayersPerBlock     PerLevel `json:"layers_per_block"`
	MidBlockType       MidType  `json:"mid_block_type"`
	TransformerLayers  Depths   `json:"transformer_layers_per_block"`
	ReverseLayers      Depths   `json:"reverse_transformer_layers_per_block"` // of the way up; nil: as the way down
	AttentionHeads     PerLevel `json:"attention_head_dim"`                   // the number of heads: diffusers' historical name
	CrossAttentionDim  PerLevel `json:"cross_attention_dim"`
	NormNumGroups      int      `json:"norm_num_groups"`
	NormEps            float64  `json:"norm_eps"`
	FlipSinToCos       bool     `json:"flip_sin_to_cos"`
	FreqShift          float64  `json:"freq_shift"`
	AdditionTimeDim    int      `json:"addition_time_embed_dim"`
	ProjectionInputDim int      `json:"projection_class_embeddings_input_dim"`
	TimeEmbeddingDim   Optional `json:"time_embedding_dim"` // 0: 4 × the first level's channels
	TimeCondProjDim    Optional `json:"time_cond_proj_dim"` // 0: no guidance embedding
	ConvInKernel       int      `json:"conv_in_kernel"`
	ConvOutKernel      int      `json:"conv_out_kernel"`
	UseLinear          bool     `json:"use_linear_projection"` // how weights are stored; the arithmetic is the same

	Unknown []string `json:"-"` // keys of the file that UNet2DConditionModel does not have; they change nothing
}

// fixed are options that change the numbers, with the values that goxl computes; the first is diffusers' default.
var fixed = map[string][]any{
	"center_input_sample":     {false},
	"only_cross_attention":    {false, []any{false}},
	"downsample_padding":      {1.},
	"mid_block_scale_factor":  {1.},
	"act_fn":                  {"silu", "swish"},
	"encoder_hid_dim":         {nil},
	"encoder_hid_dim_type":    {nil},
	"num_attention_heads":     {nil},
	"dual_cross_attention":    {false},
	"class_embed_type":        {nil},
	"addition_embed_type":     {"text_time"},
	"num_class_embeds":        {nil},
	"resnet_time_scale_shift": {"default"},
	"time_embedding_type":     {"positional"},
	"time_embedding_act_fn":   {nil},
	"timestep_post_act":       {nil},
	"attention_type":          {"default"},
	"class_embeddings_concat": {false},
}

// ignored are keys that do not change inference: upcast_attention has no effect on scaled dot product attention, and
// the second line acts in block types alone that ParseConfig refuses.
var ignored = []string{
	"dropout", "upcast_attention", "addition_embed_type_num_heads",
	"resnet_skip_time_act", "resnet_out_scale_factor", "mid_block_only_cross_attention", "cross_attention_norm",
}

// ParseConfig reads config.json; file is the name that errors give it. A value that changes the numbers and is not
// computed here is an error; keys that the class does not have are listed in Unknown.
func ParseConfig(data []byte, file string) (Config, error) {
	c := Config{
		InChannels: 4, OutChannels: 4, LayersPerBlock: PerLevel{2}, TransformerLayers: Depths{{1}}, MidBlockType: CrossAttnMid, AttentionHeads: PerLevel{8},
		CrossAttentionDim: PerLevel{1280}, NormNumGroups: 32, NormEps: 1e-5, FlipSinToCos: true, ConvInKernel: 3, ConvOutKernel: 3,
		DownBlockTypes:   []string{"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"},
		UpBlockTypes:     []string{"UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"},
		BlockOutChannels: []int{320, 640, 1280, 1280},
	}
	if err := weights.RequireFixed(data, file, "UNet2DConditionModel", fixed); err != nil {
		return c, err
	}
	ignore := append([]string{}, ignored...)
	for key := range fixed {
		ignore = append(ignore, key)
	}
	var err error
	if c.Unknown, err = weights.ParseConfig(data, file, &c, ignore...); err != nil {
		return c, err
	}
	return c, c.validate(file)
}

func (c Config) validate(file string) error {
	bad := func(key string, value any, allowed string, args ...any) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: fmt.Sprintf(allowed, args...)}
	}
	levels := len(c.BlockOutChannels)
	if levels == 0 {
		return bad("block_out_channels", c.BlockOutChannels, "at least one level")
	}
	if len(c.DownBlockTypes) != levels {
		return bad("down_block_types", c.DownBlockTypes, "%d names, as block_out_channels", levels)
	}
	if len(c.UpBlockTypes) != levels {
		return bad("up_block_types", c.UpBlockTypes, "%d names, as block_out_channels", levels)
	}
	for _, t := range c.DownBlockTypes {
		if t != "DownBlock2D" && t != "CrossAttnDownBlock2D" {
			return bad("down_block_types", t, "DownBlock2D or CrossAttnDownBlock2D")
		}
	}
	for _, t := range c.UpBlockTypes {
		if t != "UpBlock2D" && t != "CrossAttnUpBlock2D" {
			return bad("up_block_types", t, "UpBlock2D or CrossAttnUpBlock2D")
		}
	}
	for key, p := range map[string]PerLevel{
		"layers_per_block": c.LayersPerBlock, "attention_head_dim": c.AttentionHeads, "cross_attention_dim": c.CrossAttentionDim,
	} {
		if len(p) != 1 && len(p) != levels {
			return bad(key, p, "a number or a list of %d", levels)
		}
		for _, n := range p {
			if n < 1 {
				return bad(key, p, "positive")
			}
		}
	}
	if err := c.validateDepths(bad); err != nil {
		return err
	}
	for i, ch := range c.BlockOutChannels {
		if ch < 1 || c.NormNumGroups < 1 || ch%c.NormNumGroups != 0 {
			return bad("block_out_channels", ch, "a multiple of norm_num_groups %d", c.NormNumGroups)
		}
		if ch%c.AttentionHeads.At(i) != 0 {
			return bad("attention_head_dim", c.AttentionHeads.At(i), "a divisor of the level's %d channels", ch)
		}
	}
	for key, n := range map[string]int{
		"in_channels": c.InChannels, "out_channels": c.OutChannels, "addition_time_embed_dim": c.AdditionTimeDim,
		"projection_class_embeddings_input_dim": c.ProjectionInputDim,
	} {
		if n < 1 {
			return bad(key, n, "positive")
		}
	}
	for key, k := range map[string]int{"conv_in_kernel": c.ConvInKernel, "conv_out_kernel": c.ConvOutKernel} {
		if k < 1 || k%2 == 0 {
			return bad(key, k, "an odd number")
		}
	}
	if !(c.NormEps > 0) {
		return bad("norm_eps", c.NormEps, "positive")
	}
	return nil
}

// EmbeddingDim is the width of the time embedding.
func (c Config) EmbeddingDim() int {
	if c.TimeEmbeddingDim > 0 {
		return int(c.TimeEmbeddingDim)
	}
	return 4 * c.BlockOutChannels[0]
}

// Context is the width of the prompt embeddings that every level reads; levels may not differ, since one prompt serves
// all.
func (c Config) Context() int { return c.CrossAttentionDim.At(0) }
