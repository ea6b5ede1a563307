package singlefile_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// unetNames are the tensors of a synthetic or a test model's UNet.
func unetNames(t *testing.T, folder string) []string {
	t.Helper()
	file := filepath.Join(folder, "unet", "config.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := unet.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(nn.Shapes(unet.New(c))))
}

const (
	synthetic = "../../../models/sdxl/synthetic/"
	models    = "../../../testdata/models/"
)

// TestUNetNamesBothWays maps every tensor of every UNet there is to original names and back: no name is lost, and none
// stands for two.
func TestUNetNamesBothWays(t *testing.T) {
	for folder, want := range map[string]singlefile.UNetLayout{
		synthetic + "base":    singlefile.BaseLayout,
		synthetic + "refiner": singlefile.RefinerLayout,
		synthetic + "tiny":    singlefile.BaseLayout,
		models + "tiny-b":     {Layers: []int{1, 1}, UpAttention: []bool{true, true}},
		models + "tiny-c":     {Layers: []int{3, 3, 3, 3}, UpAttention: []bool{false, true, false, true}},
	} {
		names := unetNames(t, folder)
		layout, ok := singlefile.UNetLayoutOf(names)
		if !ok || !slices.Equal(layout.Layers, want.Layers) || !slices.Equal(layout.UpAttention, want.UpAttention) {
			t.Errorf("%s: layout %+v, %v; want %+v", folder, layout, ok, want)
			continue
		}
		var original []string
		for _, name := range names {
			o, ok := layout.Original(name)
			back, again := layout.Diffusers(o)
			if !ok || !again || back != name {
				t.Errorf("%s: %s is %q (%v), and that is %q (%v)", folder, name, o, ok, back, again)
			}
			original = append(original, o)
		}
		slices.Sort(original)
		if n := len(slices.Compact(slices.Clone(original))); n != len(names) {
			t.Errorf("%s: %d names become %d", folder, len(names), n)
		}
		if again, ok := singlefile.UNetLayoutOf(original); !ok || !slices.Equal(again.Layers, layout.Layers) || !slices.Equal(again.UpAttention, layout.UpAttention) {
			t.Errorf("%s: layout of the original names %+v, %v", folder, again, ok)
		}
	}
}

// TestUNetNames has the table of generative-models' own module paths, and names that are none.
func TestUNetNames(t *testing.T) {
	for original, want := range map[string]string{
		"input_blocks.4.1": "down_blocks.1.attentions.0",
		"input_blocks.4.1.transformer_blocks.1.attn2.to_k":       "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
		"middle_block.2.in_layers.0":                             "mid_block.resnets.1.norm1",
		"middle_block.1.proj_in.weight":                          "mid_block.attentions.0.proj_in.weight",
		"output_blocks.3.1":                                      "up_blocks.1.attentions.0",
		"input_blocks.3.0.op":                                    "down_blocks.0.downsamplers.0.conv",
		"output_blocks.2.2.conv.bias":                            "up_blocks.0.upsamplers.0.conv.bias",
		"output_blocks.8.0.skip_connection.weight":               "up_blocks.2.resnets.2.conv_shortcut.weight",
		"input_blocks.0.0":                                       "conv_in",
		"time_embed.2.bias":                                      "time_embedding.linear_2.bias",
		"label_emb.0.0.weight":                                   "add_embedding.linear_1.weight",
		"out.2.weight":                                           "conv_out.weight",
		"input_blocks.5.0.emb_layers.1.bias":                     "down_blocks.1.resnets.1.time_emb_proj.bias",
		"output_blocks.0.1.transformer_blocks.9.ff.net.0.proj":   "up_blocks.0.attentions.0.transformer_blocks.9.ff.net.0.proj",
		"output_blocks.9.0.in_layers.0":                          "",
		"input_blocks.9.0.op":                                    "",
		"input_blocks.04.1":                                      "",
		"input_blocks.-1.1":                                      "",
		"input_blocks.3.0.in_layers.0":                           "",
		"input_blocks.4.2.conv":                                  "",
		"middle_block.3.in_layers.0":                             "",
		"time_embedding.linear_1.weight":                         "",
		"":                                                       "",
		"input_blocks":                                           "",
		"input_blocks.1.0":                                       "",
		"input_blocks.1.0.in_layers.1.weight":                    "",
		"input_blocks.99999999999999999999.0.in_layers.1.weight": "",
	} {
		got, ok := singlefile.BaseLayout.Diffusers(original)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s is %q, %v; want %q", original, got, ok, want)
		}
	}
}

// TestUNetNamesOfDiffusers: the original name of every tensor is the one that diffusers' own converter reads it from, for
// the full base and refiner and their relatives.
func TestUNetNamesOfDiffusers(t *testing.T) {
	g := golden.Open(t, "../../../testdata/goldens/unet_shapes.safetensors")
	var hashes map[string]string
	var configs map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal([]byte(g.Metadata["original"]), &hashes), json.Unmarshal([]byte(g.Metadata["configs"]), &configs)); err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{"base", "refiner"} {
		data, err := os.ReadFile(filepath.Join(synthetic, model, "unet", "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		configs[model] = data
	}
	if len(hashes) != 8 || len(configs) != 8 {
		t.Errorf("%d hashes and %d configurations, want 8", len(hashes), len(configs))
	}
	for model, want := range hashes {
		names := slices.Sorted(maps.Keys(componentShapes(t, "unet", configs[model])))
		layout, ok := singlefile.UNetLayoutOf(names)
		if !ok {
			t.Fatalf("%s: no layout", model)
		}
		var lines []string
		for _, name := range names {
			original, ok := layout.Original(name)
			if back, again := layout.Diffusers(original); !ok || !again || back != name {
				t.Errorf("%s: %s is %q, and that is %q", model, name, original, back)
			}
			lines = append(lines, original+" "+name)
		}
		slices.Sort(lines)
		if got := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(lines, "\n")))); got != want {
			t.Errorf("%s: the names' hash is %s, diffusers' %s", model, got, want)
		}
	}
}
