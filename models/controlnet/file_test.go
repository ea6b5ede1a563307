package controlnet_test

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// full are configurations of the published nets.
var full = map[string]string{
	"full":   `{"_class_name": "ControlNetModel"%s}`,
	"mid":    `{"_class_name": "ControlNetModel"%s, "down_block_types": ["DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"], "transformer_layers_per_block": [0, 0, 1]}`,
	"small":  `{"_class_name": "ControlNetModel"%s, "down_block_types": ["DownBlock2D", "DownBlock2D", "DownBlock2D"], "mid_block_type": "UNetMidBlock2D", "transformer_layers_per_block": [0, 0, 0]}`,
	"union":  `{"_class_name": "ControlNetUnionModel"%s}`,
	"promax": `{"_class_name": "ControlNetUnionModel"%s, "num_control_type": 8}`,
}

// published are the keys that all of them have.
const published = `, "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816, "attention_head_dim": [5, 10, 20],
	"block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048, "use_linear_projection": true`

func publishedConfig(t *testing.T, name string) controlnet.Config {
	t.Helper()
	more := published
	if name != "mid" && name != "small" {
		more += `, "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "transformer_layers_per_block": [1, 2, 10]`
	}
	c, err := controlnet.ParseConfig(fmt.Appendf(nil, full[name], more), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var layout = singlefile.UNetLayout{Layers: []int{2, 2, 2}, UpAttention: []bool{false, false, false}}

// originalName is ControlNet's own name of a tensor. Source: lllyasviel/ControlNet cldm/cldm.py, and diffusers
// convert_controlnet_checkpoint.
func originalName(t *testing.T, name string) string {
	t.Helper()
	for _, r := range []struct {
		from *regexp.Regexp
		to   func(m []string) string
	}{
		{regexp.MustCompile(`^controlnet_cond_embedding\.conv_in\.(.*)$`), func(m []string) string { return "input_hint_block.0." + m[1] }},
		{regexp.MustCompile(`^controlnet_cond_embedding\.blocks\.(\d)\.(.*)$`), func(m []string) string { return fmt.Sprintf("input_hint_block.%d.%s", 2*int(m[1][0]-'0')+2, m[2]) }},
		{regexp.MustCompile(`^controlnet_cond_embedding\.conv_out\.(.*)$`), func(m []string) string { return "input_hint_block.14." + m[1] }},
		{regexp.MustCompile(`^controlnet_down_blocks\.(\d)\.(.*)$`), func(m []string) string { return "zero_convs." + m[1] + ".0." + m[2] }},
		{regexp.MustCompile(`^controlnet_mid_block\.(.*)$`), func(m []string) string { return "middle_block_out.0." + m[1] }},
	} {
		if m := r.from.FindStringSubmatch(name); m != nil {
			return r.to(m)
		}
	}
	original, ok := layout.Original(name)
	if !ok {
		t.Fatalf("%s has no original name", name)
	}
	return original
}

// TestReadFile: files of every published size, in diffusers' names and the original ones, with and without a prefix,
// have the tensors and the configuration of the folder.
func TestReadFile(t *testing.T) {
	for name := range full {
		want := publishedConfig(t, name)
		shapes := controlnet.Shapes(want)
		files := map[string]map[string][]int{"diffusers": shapes}
		if !want.Union() {
			files["original"], files["control_model."] = map[string][]int{}, map[string][]int{}
			for tensor, shape := range shapes {
				original := originalName(t, tensor)
				files["original"][original], files["control_model."]["control_model."+original] = shape, shape
			}
		}
		for kind, list := range files {
			file, err := controlnet.ReadFile(weights.Synthetic("controlnet", list, kernels.F16))
			if err != nil {
				t.Fatal(err)
			}
			if got := slices.Sorted(maps.Keys(shapes)); !slices.Equal(file.Names(), got) {
				t.Errorf("%s in %s names: %d tensors, want %d", name, kind, len(file.Names()), len(got))
			}
			if file.Base || file.Difference || len(file.Lora) > 0 {
				t.Errorf("%s in %s names is built on a UNet", name, kind)
			}
			got, err := controlnet.Detect(file, nil)
			if err != nil {
				t.Fatalf("%s in %s names: %v", name, kind, err)
			}
			if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
				t.Errorf("%s in %s names:\n%s, want\n%s", name, kind, a, b)
			}
		}
	}
}

// TestPublishedSize is the parameters that diffusers counts in the published full net.
func TestPublishedSize(t *testing.T) {
	if got := nn.Parameters(controlnet.New(publishedConfig(t, "full"))); got != 1251014160 {
		t.Errorf("%d parameters, want 1251014160", got)
	}
}

// TestOtherFiles are no ControlNets.
func TestOtherFiles(t *testing.T) {
	read := func(names ...string) error {
		list := map[string][]int{}
		for _, name := range names {
			list[name] = []int{4, 4}
		}
		file, err := controlnet.ReadFile(weights.Synthetic("x", list, kernels.F16))
		if err != nil {
			return err
		}
		_, err = controlnet.Detect(file, nil)
		return err
	}
	for want, err := range map[string]error{
		"LLLite":                  read("lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.down.0.weight"),
		"not a ControlNet's":      read("encoder.conv_in.weight"),
		"both stand for":          read("control_model.time_embed.0.weight", "time_embed.0.weight", "input_hint_block.0.weight"),
		"Stable Diffusion 1 or 2": read("control_model.input_hint_block.0.weight", "control_model.time_embed.0.weight", "control_model.input_blocks.1.0.in_layers.2.weight"),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
