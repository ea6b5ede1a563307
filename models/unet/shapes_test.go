package unet_test

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestShapes compares one call of small UNets that are shaped as SDXL's relatives with diffusers: SSD-1B's depths that
// differ within a level and its middle of one residual block, KOALA's levels of one block and its missing middle, and
// the input channels of inpainting and InstructPix2Pix.
func TestShapes(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	g := golden.Open(t, "../../testdata/goldens/unet_shapes.safetensors")
	configs := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(g.Metadata["configs"]), &configs); err != nil {
		t.Fatal(err)
	}
	if len(configs) != 6 {
		t.Errorf("%d shapes, want 6", len(configs))
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		config, err := unet.ParseConfig(configs[name], name)
		if err != nil {
			t.Fatal(err)
		}
		src := weights.Synthetic("unet", nn.Shapes(unet.New(config)), kernels.F32)
		if err := config.Fits(src, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d, err := unet.Open(dev, src, config, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, shape := g.Floats(name + ".output")
		golden.Near(t, name, call(t, d, g, name+"."), golden.ChannelsLast(want, shape), 1e-5)
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDepths has depths of transformers, and the middle, that a configuration may not have.
func TestDepths(t *testing.T) {
	const rest = `{"_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 96,
		"block_out_channels": [32, 64], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"], `
	for settings, want := range map[string]string{
		`"transformer_layers_per_block": [1, [2, 3]], "reverse_transformer_layers_per_block": [[1, 2, 3], 1]`: "",
		`"transformer_layers_per_block": 2, "mid_block_type": null`:                                           "",
		`"transformer_layers_per_block": [1, 2], "reverse_transformer_layers_per_block": [3, 1]`:              "",
		`"transformer_layers_per_block": [1, [2, 3]]`:                                                         `"reverse_transformer_layers_per_block" is null; allowed: a list`,
		`"transformer_layers_per_block": [1, [2, 3, 4]], "reverse_transformer_layers_per_block": [1, 1]`:      "2 numbers for level 1",
		`"transformer_layers_per_block": [1, [2, 3]], "reverse_transformer_layers_per_block": [[1, 2], 1]`:    "3 numbers for level 0",
		`"transformer_layers_per_block": [1, [2, 0]], "reverse_transformer_layers_per_block": [1, 1]`:         "positive",
		`"transformer_layers_per_block": [1, []]`:                                                             "a number or a list",
		`"transformer_layers_per_block": [1, 2, 3]`:                                                           "a list of 2",
		`"transformer_layers_per_block": [1, 2], "reverse_transformer_layers_per_block": [1]`:                 "a list of 2",
		`"transformer_layers_per_block": [1, "2"]`:                                                            "a number or a list",
		`"transformer_layers_per_block": null`:                                                                "a list of 2",
		`"mid_block_type": "UNetMidBlock2DSimpleCrossAttn"`:                                                   "must be UNetMidBlock2DCrossAttn, UNetMidBlock2D or null",
		`"mid_block_type": 1`: "must be UNetMidBlock2DCrossAttn, UNetMidBlock2D or null",
	} {
		_, err := unet.ParseConfig([]byte(rest+settings+"}"), "config.json")
		var ce *weights.ConfigError
		if want == "" && err != nil || want != "" && (!errors.As(err, &ce) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", settings, err, want)
		}
	}
}
