package sdxl

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/ipadapter"
	"github.com/goxl/goxl/models/unet"
)

// syntheticEncoder is an image encoder of SynthesiseIPAdapters.
type syntheticEncoder struct {
	folder string // and the component of its weights
	config clip.VisionConfig
}

// syntheticPrompts are what SynthesiseIPAdapters writes for a base of full size, or a tiny one.
func syntheticPrompts(tiny bool, layers []int) (encoders []syntheticEncoder, adapters map[string]ipadapter.Config) {
	h := clip.VisionConfig{HiddenSize: 1280, Intermediate: 5120, ProjectionDim: 1024, Layers: 32, Heads: 16, Channels: 3, ImageSize: 224, PatchSize: 14, HiddenAct: "gelu", LayerNormEps: 1e-5}
	g := clip.VisionConfig{HiddenSize: 1664, Intermediate: 8192, ProjectionDim: 1280, Layers: 48, Heads: 16, Channels: 3, ImageSize: 224, PatchSize: 14, HiddenAct: "gelu", LayerNormEps: 1e-5}
	context, plus := 2048, ipadapter.Config{Plus: true, Tokens: 16, Hidden: 1280, Depth: 4, Heads: 20, Intermediate: 5120}
	if tiny {
		h = clip.VisionConfig{HiddenSize: 64, Intermediate: 96, ProjectionDim: 48, Layers: 3, Heads: 4, Channels: 3, ImageSize: 32, PatchSize: 8, HiddenAct: "gelu", LayerNormEps: 1e-5}
		g = clip.VisionConfig{HiddenSize: 72, Intermediate: 80, ProjectionDim: 56, Layers: 2, Heads: 3, Channels: 3, ImageSize: 42, PatchSize: 14, HiddenAct: "gelu", LayerNormEps: 1e-5}
		context, plus = 80, ipadapter.Config{Plus: true, Tokens: 6, Hidden: 96, Depth: 4, Heads: 2, Intermediate: 384}
	}
	plus.Width, plus.Context, plus.Layers = h.HiddenSize, context, layers
	base := func(c clip.VisionConfig) ipadapter.Config {
		return ipadapter.Config{Width: c.ProjectionDim, Tokens: 4, Context: context, Layers: layers}
	}
	return []syntheticEncoder{{"models/image_encoder", h}, {"sdxl_models/image_encoder", g}},
		map[string]ipadapter.Config{"ip-adapter_sdxl": base(g), "ip-adapter_sdxl_vit-h": base(h), "ip-adapter-plus_sdxl_vit-h": plus}
}

// SynthesiseIPAdapters writes IP-Adapters and image encoders with random weights in dtype, for the synthetic base or
// tiny model, as h94/IP-Adapter lays them out: sdxl_models with ip-adapter_sdxl, which reads ViT-bigG/14,
// ip-adapter_sdxl_vit-h and ip-adapter-plus_sdxl_vit-h, which read ViT-H/14, and the two image_encoder. Nothing may be at
// dir but an empty folder, and nothing stays of an error. In full size and fp16 it takes 7 GB.
func SynthesiseIPAdapters(ctx context.Context, tiny bool, dtype kernels.DType, dir string) error {
	name := "base"
	if tiny {
		name = "tiny"
	}
	file := "synthetic/" + name + "/unet/config.json"
	data, err := fs.ReadFile(synthetic, file)
	if err != nil {
		return err
	}
	config, err := unet.ParseConfig(data, file)
	if err != nil {
		return err
	}
	var layers []int
	for _, a := range config.CrossAttentions() {
		layers = append(layers, a.Channels)
	}
	encoders, adapters := syntheticPrompts(tiny, layers)
	return buildFolder(dir, func(building string) error {
		for _, e := range encoders {
			folder := filepath.Join(building, filepath.FromSlash(e.folder))
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
			config, err := encoderJSON(e.config)
			if err == nil {
				err = os.WriteFile(filepath.Join(folder, "config.json"), config, 0o644)
			}
			if err == nil {
				err = writeSynthetic(ctx, filepath.Join(folder, "model.safetensors"), e.folder, clip.VisionShapes(e.config), dtype)
			}
			if err != nil {
				return err
			}
		}
		for name, c := range adapters {
			if err := writeSynthetic(ctx, filepath.Join(building, "sdxl_models", name+".safetensors"), name, ipadapter.Shapes(c), dtype); err != nil {
				return err
			}
		}
		return nil
	})
}

// encoderJSON is the config.json that transformers reads too.
func encoderJSON(c clip.VisionConfig) ([]byte, error) {
	return json.MarshalIndent(struct {
		Architectures []string `json:"architectures"`
		ModelType     string   `json:"model_type"`
		clip.VisionConfig
	}{[]string{"CLIPVisionModelWithProjection"}, "clip_vision_model", c}, "", "  ")
}
