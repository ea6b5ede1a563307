package singlefile_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// relatives are the configurations of unet_shapes.py: the depths, blocks and middles of SDXL's relatives.
func relatives(t *testing.T) map[string]map[string]any {
	t.Helper()
	var configs map[string]map[string]any
	if err := json.Unmarshal([]byte(golden.Open(t, "../../../testdata/goldens/unet_shapes.safetensors").Metadata["configs"]), &configs); err != nil {
		t.Fatal(err)
	}
	return configs
}

func unetTensors(t *testing.T, config []byte) map[string][]int {
	t.Helper()
	list, err := singlefile.Tensors(singlefile.UNet, weights.Synthetic("unet", componentShapes(t, "unet", config), kernels.F16), false)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]int{}
	for _, tensor := range list {
		all[tensor.Name] = tensor.Shape
	}
	return all
}

func encoded(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestRelatives recognises every relative of SDXL at full size, beside SDXL's encoders and VAE, alone, and small; and
// derives the configuration that it was made from.
func TestRelatives(t *testing.T) {
	published := map[string]any{}
	data, err := os.ReadFile(filepath.Join(synthetic, "base", "unet", "config.json"))
	if err == nil {
		err = json.Unmarshal(data, &published)
	}
	if err != nil {
		t.Fatal(err)
	}
	whole := original(t, synthetic+"base")
	maps.DeleteFunc(whole, func(name string, _ []int) bool { return strings.HasPrefix(name, "model.diffusion_model.") })
	tiny := original(t, synthetic+"tiny")
	maps.DeleteFunc(tiny, func(name string, _ []int) bool { return strings.HasPrefix(name, "model.diffusion_model.") })
	metadata := map[string]string{}
	for _, component := range []string{"text_encoder", "text_encoder_2", "vae"} {
		data, err := os.ReadFile(filepath.Join(synthetic, "tiny", component, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		metadata["goxl:"+component+"/config.json"] = string(data)
	}
	families := map[string]weights.Family{"ssd-1b": weights.SSD1B, "segmind-vega": weights.SegmindVega, "koala-700m": weights.KOALA700M,
		"koala-1b": weights.KOALA1B, "inpainting": weights.SDXLInpainting, "instruct": weights.SDXLInstruct}
	for name, small := range relatives(t) {
		full := maps.Clone(small)
		for _, key := range []string{"sample_size", "block_out_channels", "attention_head_dim", "cross_attention_dim", "norm_num_groups", "addition_time_embed_dim", "projection_class_embeddings_input_dim"} {
			full[key] = published[key]
		}
		if name == "segmind-vega" {
			full["transformer_layers_per_block"] = []int{1, 1, 2}
		}
		config := encoded(t, full)
		tensors := unetTensors(t, config)
		all := maps.Clone(whole)
		maps.Copy(all, tensors)
		c := open(t, sparse(t, all, nil))
		if c.Kind != (weights.Kind{Form: weights.Checkpoint, Family: families[name]}) || len(c.Missing()) > 0 || len(c.Unclaimed) > 0 {
			t.Errorf("%s: %v, missing %v, unclaimed %v", name, c.Kind, c.Missing(), c.Unclaimed)
		}
		sameConfig(t, "unet", read(t, c.Files(), "unet/config.json"), config)

		// Alone, under every prefix, and in diffusers' names.
		bare := weights.Kind{Form: weights.BareUNet, Family: families[name]}
		for _, prefix := range []string{"model.diffusion_model.", "model.model.", "net.", "diffusion_model.", "model.", ""} {
			moved := map[string][]int{}
			for tensor, shape := range tensors {
				moved[prefix+strings.TrimPrefix(tensor, "model.diffusion_model.")] = shape
			}
			c = open(t, sparse(t, moved, nil))
			if c.Kind != bare || !slices.Equal(c.Missing(), []string{"text_encoder", "text_encoder_2", "vae"}) || len(c.Unclaimed) > 0 {
				t.Errorf("%s alone at %q: %v, missing %v, unclaimed %v", name, prefix, c.Kind, c.Missing(), c.Unclaimed)
			}
		}
		c = open(t, sparse(t, componentShapes(t, "unet", config), nil))
		if c.Kind != bare {
			t.Errorf("%s alone in diffusers' names: %v", name, c.Kind)
		}
		sameConfig(t, "unet", read(t, c.Files(), "unet/config.json"), config)

		// Small: its family is that of any SDXL, by its input channels.
		config = encoded(t, small)
		all = maps.Clone(tiny)
		maps.Copy(all, unetTensors(t, config))
		metadata["goxl:unet/config.json"] = string(encoded(t, map[string]any{"attention_head_dim": small["attention_head_dim"], "norm_num_groups": small["norm_num_groups"], "sample_size": small["sample_size"]}))
		c = open(t, sparse(t, all, metadata))
		if !c.Kind.Family.SDXL() || c.Kind.Form != weights.Checkpoint {
			t.Errorf("%s, small: %v", name, c.Kind)
		}
		sameConfig(t, "unet", read(t, c.Files(), "unet/config.json"), config)
	}
}
