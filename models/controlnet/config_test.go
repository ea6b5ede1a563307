package controlnet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/nn/weights"
)

// TestConfigs: what a configuration may not have is named with what is allowed.
func TestConfigs(t *testing.T) {
	const head = `"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 96, "cross_attention_dim": 80,
		"block_out_channels": [32, 64], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]`
	const union = `"_class_name": "ControlNetUnionModel", "num_trans_channel": 32, "num_proj_channel": 32`
	for settings, want := range map[string]string{
		`"_class_name": "ControlNetModel", ` + head: "",
		union + `, ` + head:                         "",
		`"_class_name": "ControlNetModel_Union", "num_trans_channel": 32, "num_proj_channel": 32, ` + head: "",
		`"_class_name": "ControlNetModel", "unheard_of": 1, ` + head:                                       "",
		`"_class_name": "ControlNetModel", "transformer_layers_per_block": [0, 2], ` + head:                "",
		`"_class_name": "ControlNetModel", "controlnet_conditioning_channel_order": "bgr", ` + head:        "",
		`"_class_name": "UNet2DConditionModel", ` + head:                                                   "ControlNetModel or ControlNetUnionModel",
		`"_class_name": 3, ` + head:                                                                   "ControlNetModel or ControlNetUnionModel",
		`"_class_name": "ControlNetModel"`:                                                            "Stable Diffusion 1 or 2",
		`"_class_name": "ControlNetModel", "addition_embed_type": null`:                               "Stable Diffusion 1 or 2",
		`"_class_name": "ControlNetModel", "transformer_layers_per_block": [1, 0], ` + head:           "transformer_layers_per_block",
		`"_class_name": "ControlNetModel", "conditioning_channels": 4, ` + head:                       "conditioning_channels",
		`"_class_name": "ControlNetModel", "controlnet_conditioning_channel_order": "grb", ` + head:   "rgb, or bgr",
		`"_class_name": "ControlNetModel", "conditioning_embedding_out_channels": [], ` + head:        "conditioning_embedding_out_channels",
		`"_class_name": "ControlNetModel", "conditioning_embedding_out_channels": [4, 0], ` + head:    "conditioning_embedding_out_channels",
		`"_class_name": "ControlNetModel", "mid_block_type": null, ` + head:                           "mid_block_type",
		`"_class_name": "ControlNetModel", "down_block_types": 5, "addition_embed_type": "text_time"`: "down_block_types",
		union + `, "controlnet_conditioning_channel_order": "bgr", ` + head:                           "rgb, or bgr",
		union + `, "num_control_type": 100, ` + head:                                                  "num_control_type",
		union + `, "num_trans_head": 5, ` + head:                                                      "num_trans_head",
		union + `, "num_trans_layer": -1, ` + head:                                                    "num_trans_layer",
		`"_class_name": "ControlNetUnionModel", ` + head:                                              "num_trans_channel",
	} {
		_, err := controlnet.ParseConfig([]byte("{"+settings+"}"), "config.json")
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "config.json")) {
			t.Errorf("%s: error %v, want %q", settings, err, want)
		}
	}
	if _, err := controlnet.ParseConfig([]byte("[1]"), "config.json"); err == nil {
		t.Error("a list passes")
	}
}

// TestFitsCounts: a configuration that counts more than there is is refused before anything is declared.
func TestFitsCounts(t *testing.T) {
	r := openReference(t)
	src := weights.Synthetic("controlnet", controlnet.Shapes(r.config(t, "full")), kernels.F32)
	for key, change := range map[string]func(*controlnet.Config){
		"layers_per_block":                    func(c *controlnet.Config) { c.UNet.LayersPerBlock[0] = 1000000 },
		"transformer_layers_per_block":        func(c *controlnet.Config) { c.UNet.TransformerLayers[2][0] = 1000000 },
		"block_out_channels":                  func(c *controlnet.Config) { c.UNet.BlockOutChannels[1] = 1 << 30 },
		"cross_attention_dim":                 func(c *controlnet.Config) { c.UNet.CrossAttentionDim[0] = 1 << 30 },
		"conditioning_embedding_out_channels": func(c *controlnet.Config) { c.HintChannels[2] = 1 << 30 },
		"down_block_types":                    func(c *controlnet.Config) { c.UNet.DownBlockTypes[0] = "CrossAttnDownBlock2D" },
	} {
		c := r.config(t, "full")
		change(&c)
		var bad *weights.ConfigError
		if err := c.Fits(src, "config.json"); !errors.As(err, &bad) || bad.Key != key {
			t.Errorf("%s: error %v", key, err)
		}
	}
	if err := r.config(t, "full").Fits(src, "config.json"); err != nil {
		t.Error(err)
	}
	if got := fmt.Sprint(controlnet.GuessScales(3)); got != "[0.1 0.31622776 1]" {
		t.Errorf("the scales of guess mode are %s", got)
	}
}
