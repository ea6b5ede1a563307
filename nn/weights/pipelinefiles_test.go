package weights

import (
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

func TestPipelineFiles(t *testing.T) {
	index := Index{Components: map[string]Class{"unet": {"diffusers", "UNet2DConditionModel"}, "scheduler": {"diffusers", "X"}, "vae": {}, "safety_checker": {"a", "b"}}}
	plain := []string{"model_index.json", "goxl.json", "README.md", "scheduler/scheduler_config.json", "scheduler/old/scheduler_config.json", "unet/config.json", "safety_checker/model.safetensors", "vae/config.json"}
	const base = "unet/diffusion_pytorch_model"
	common := []string{"goxl.json", "model_index.json", "scheduler/scheduler_config.json", "unet/config.json"}
	for name, test := range map[string]struct {
		weights []string
		v       Variant
		want    []string
		says    string
	}{
		"fp32 prefers plain":    {[]string{base + ".safetensors", base + ".fp16.safetensors"}, Variant{Precision: kernels.F32}, []string{base + ".safetensors"}, ""},
		"others prefer fp16":    {[]string{base + ".safetensors", base + ".fp16.safetensors"}, Variant{Precision: kernels.BF16}, []string{base + ".fp16.safetensors"}, ""},
		"what there is":         {[]string{base + ".fp16.safetensors"}, Variant{Precision: kernels.F32}, []string{base + ".fp16.safetensors"}, ""},
		"the only one":          {[]string{base + ".bf16.safetensors"}, Variant{}, []string{base + ".bf16.safetensors"}, ""},
		"by name":               {[]string{base + ".safetensors", base + ".bf16.safetensors"}, Variant{Name: "bf16"}, []string{base + ".bf16.safetensors"}, ""},
		"a name that is none":   {[]string{base + ".safetensors"}, Variant{Name: "bf16"}, nil, `no component has the variant "bf16"`},
		"several, none of them": {[]string{base + ".a.safetensors", base + ".b.safetensors"}, Variant{}, nil, "choose a variant of: a, b"},
		"shards before a file": {[]string{base + ".safetensors", base + ".safetensors.index.json", base + "-00001-of-00002.safetensors", base + "-00002-of-00002.safetensors"}, Variant{},
			[]string{base + ".safetensors.index.json", base + "-00001-of-00002.safetensors", base + "-00002-of-00002.safetensors"}, ""},
		"shards of a variant": {[]string{base + ".safetensors.index.fp16.json", base + ".fp16-00001-of-00001.safetensors", base + ".safetensors.index.json"}, Variant{},
			[]string{base + ".safetensors.index.fp16.json", base + ".fp16-00001-of-00001.safetensors"}, ""},
		"older names of both": {[]string{base + ".safetensors.fp16.index.json", base + "-00001-of-00001.fp16.safetensors"}, Variant{},
			[]string{base + ".safetensors.fp16.index.json", base + "-00001-of-00001.fp16.safetensors"}, ""},
		"a shard is missing": {[]string{base + ".safetensors.index.json", base + "-00001-of-00002.safetensors"}, Variant{}, nil, "lacks a part of its weights"},
		"pickles alone":      {[]string{base + ".bin", base + ".fp16.bin"}, Variant{}, []string{base + ".fp16.bin"}, ""},
		"safetensors first":  {[]string{base + ".fp16.bin", base + ".safetensors"}, Variant{}, []string{base + ".safetensors"}, ""},
		"nothing":            {nil, Variant{}, nil, "has no weights"},
		"another name":       {[]string{"unet/model.safetensors", base + "_ema.safetensors"}, Variant{}, nil, "has no weights"},
	} {
		got, err := PipelineFiles(index, slices.Concat(plain, test.weights), test.v)
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %q, %v, want %q", name, got, err, test.says)
			}
			continue
		}
		want := slices.Sorted(slices.Values(slices.Concat(common, test.want)))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	index.Components["text_encoder"] = Class{"transformers", "CLIPTextModel"}
	if _, err := PipelineFiles(index, slices.Concat(plain, []string{base + ".safetensors"}), Variant{}); err == nil || !strings.Contains(err.Error(), "component text_encoder, of which there is no file") {
		t.Errorf("a component that is not there: %v", err)
	}
}
