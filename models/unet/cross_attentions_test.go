package unet

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestCrossAttentionsOfModels: the walk over a configuration lists what the model that is declared from it has, of every
// shape of the family.
func TestCrossAttentionsOfModels(t *testing.T) {
	configs := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(golden.Open(t, "../../testdata/goldens/unet_shapes.safetensors").Metadata["configs"]), &configs); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../sdxl/synthetic/*/unet/config.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if configs[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	configs["lists"] = json.RawMessage(`{"_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 96,
		"block_out_channels": [32, 64], "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
		"transformer_layers_per_block": [1, [2, 3]], "reverse_transformer_layers_per_block": [[1, 2, 3], 4]}`)
	var most int
	for name, data := range configs {
		c, err := ParseConfig(data, name)
		if err != nil {
			t.Fatal(err)
		}
		var want []CrossAttention
		New(c).eachBlock(func(path string, level, _ int, block *TransformerBlock) {
			want = append(want, CrossAttention{path, block.Attn2.ToQ.Weight.Shape[0], level})
		})
		if got := c.CrossAttentions(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, the model has %v", name, got, want)
		}
		most = max(most, len(want))
	}
	if most < 70 {
		t.Errorf("%d cross-attentions at most: the base is not among the configurations", most)
	}
}
