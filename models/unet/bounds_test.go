package unet

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestFitsCountsEveryList has one list as long as the configuration says and all others short: their product is not
// there.
func TestFitsCountsEveryList(t *testing.T) {
	const many = 2000
	c := Config{
		InChannels: 4, OutChannels: 4, BlockOutChannels: []int{8}, DownBlockTypes: []string{"CrossAttnDownBlock2D"}, UpBlockTypes: []string{"CrossAttnUpBlock2D"},
		LayersPerBlock: PerLevel{many}, TransformerLayers: Depths{{many}}, MidBlockType: CrossAttnMid, AttentionHeads: PerLevel{1}, CrossAttentionDim: PerLevel{8},
	}
	tensors := map[string]weights.Tensor{}
	add := func(format string, args ...any) {
		tensors[fmt.Sprintf(format, args...)] = weights.NewTensor("", kernels.F16, []int{0}, nil)
	}
	for i := range many + 1 {
		add("down_blocks.0.resnets.%d.conv1.bias", i)
		add("up_blocks.0.resnets.%d.conv1.bias", i)
		add("down_blocks.0.attentions.0.transformer_blocks.%d.norm1.bias", i)
		add("mid_block.attentions.0.transformer_blocks.%d.norm1.bias", i)
	}
	err := c.Fits(weights.FromMap(tensors), "config.json")
	var ce *weights.ConfigError
	if !errors.As(err, &ce) || ce.Key != "transformer_layers_per_block" || !strings.Contains(ce.Allowed, "down_blocks.0.attentions.1.transformer_blocks") {
		t.Errorf("error %v", err)
	}
	for key, change := range map[string]func(*Config){
		"layers_per_block":             func(c *Config) { c.LayersPerBlock = PerLevel{many + 2} },
		"transformer_layers_per_block": func(c *Config) { c.TransformerLayers = Depths{{many + 2}} },
		"block_out_channels (levels)": func(c *Config) {
			c.BlockOutChannels, c.DownBlockTypes, c.UpBlockTypes = []int{8, 8}, []string{"DownBlock2D", "DownBlock2D"}, []string{"UpBlock2D", "UpBlock2D"}
		},
		"reverse_transformer_layers_per_block": func(c *Config) {
			c.LayersPerBlock, c.TransformerLayers, c.ReverseLayers = PerLevel{1}, Depths{{1}}, Depths{{-1}}
			add("up_blocks.0.attentions.0.transformer_blocks.0.norm1.bias")
		},
	} {
		changed := c
		change(&changed)
		if err := changed.Fits(weights.FromMap(tensors), "config.json"); !errors.As(err, &ce) || ce.Key != key {
			t.Errorf("%s: error %v", key, err)
		}
	}
	delete(tensors, "up_blocks.0.attentions.0.transformer_blocks.0.norm1.bias")
	short := c
	short.LayersPerBlock = PerLevel{1}
	if err := short.Fits(weights.FromMap(tensors), "config.json"); !errors.As(err, &ce) || ce.Key != "up_block_types" || !strings.Contains(ce.Allowed, "UpBlock2D, since the weights have no up_blocks.0.attentions") {
		t.Errorf("no attentions: error %v", err)
	}
}
