package clip

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// VisionConfig is the part of a CLIPVisionConfig that shapes the model.
type VisionConfig struct {
	HiddenSize    int     `json:"hidden_size"`
	Intermediate  int     `json:"intermediate_size"`
	ProjectionDim int     `json:"projection_dim"`
	Layers        int     `json:"num_hidden_layers"`
	Heads         int     `json:"num_attention_heads"`
	Channels      int     `json:"num_channels"` // 3
	ImageSize     int     `json:"image_size"`   // pixels a side
	PatchSize     int     `json:"patch_size"`
	HiddenAct     string  `json:"hidden_act"` // quick_gelu or gelu
	LayerNormEps  float64 `json:"layer_norm_eps"`

	Unknown []string `json:"-"` // keys of the file that transformers' CLIPVisionConfig does not have; they change nothing
}

// ignoredVision are keys that do not change inference.
var ignoredVision = append([]string{"architectures"}, ignored...)

// ParseVisionConfig reads config.json, or its vision_config where the file is a whole CLIP's; file is the name that
// errors give it.
func ParseVisionConfig(data []byte, file string) (VisionConfig, error) {
	var whole struct {
		Vision     json.RawMessage `json:"vision_config"`
		Projection int             `json:"projection_dim"`
	}
	c := VisionConfig{
		HiddenSize: 768, Intermediate: 3072, ProjectionDim: 512, Layers: 12, Heads: 12, Channels: 3, ImageSize: 224, PatchSize: 32,
		HiddenAct: "quick_gelu", LayerNormEps: 1e-5,
	}
	if json.Unmarshal(data, &whole) == nil && bytes.HasPrefix(whole.Vision, []byte("{")) {
		data, file = whole.Vision, file+": vision_config"
		if whole.Projection > 0 {
			c.ProjectionDim = whole.Projection
		}
	}
	var err error
	if c.Unknown, err = weights.ParseConfig(data, file, &c, ignoredVision...); err != nil {
		return c, err
	}
	return c, c.validate(file)
}

func (c VisionConfig) validate(file string) error {
	bad := func(key string, value any, allowed string) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: allowed}
	}
	switch {
	case c.HiddenAct != "quick_gelu" && c.HiddenAct != "gelu":
		return bad("hidden_act", c.HiddenAct, "quick_gelu or gelu")
	case min(c.HiddenSize, c.Intermediate, c.ProjectionDim) < 1:
		return bad("hidden_size, intermediate_size, projection_dim", []int{c.HiddenSize, c.Intermediate, c.ProjectionDim}, "positive")
	case c.Layers < 2:
		return bad("num_hidden_layers", c.Layers, "at least 2")
	case c.Heads < 1 || c.HiddenSize%c.Heads != 0:
		return bad("num_attention_heads", c.Heads, fmt.Sprintf("a divisor of hidden_size %d", c.HiddenSize))
	case c.Channels != 3:
		return bad("num_channels", c.Channels, "3")
	case c.PatchSize < 1:
		return bad("patch_size", c.PatchSize, "positive")
	case c.ImageSize < c.PatchSize || c.ImageSize > maxVisionSize:
		return bad("image_size", c.ImageSize, fmt.Sprintf("patch_size %d to %d", c.PatchSize, maxVisionSize))
	case !(c.LayerNormEps > 0):
		return bad("layer_norm_eps", c.LayerNormEps, "positive")
	}
	return nil
}

// maxVisionSize bounds the pixels a side that an encoder may want: published ones have 224 to 448.
const maxVisionSize = 4096

// Tokens is the length of the sequence: the class token and the patches.
func (c VisionConfig) Tokens() int {
	side := c.ImageSize / c.PatchSize
	return side*side + 1
}

// Name is the published model that has these sizes, "" for another.
func (c VisionConfig) Name() string {
	for _, v := range publishedVision {
		if v.HiddenSize == c.HiddenSize && v.ProjectionDim == c.ProjectionDim {
			return v.name
		}
	}
	return ""
}

// publishedVision are the encoders whose shapes tell what they are, for files without a config.json.
var publishedVision = []struct {
	name                     string
	HiddenSize, Heads, Patch int
	ProjectionDim            int
	HiddenAct                string
}{
	{"ViT-H/14", 1280, 16, 14, 1024, "gelu"},
	{"ViT-bigG/14", 1664, 16, 14, 1280, "gelu"},
	{"ViT-L/14", 1024, 16, 14, 768, "quick_gelu"},
}

// DetectVision gives the configuration of a published encoder by the shapes of its tensors, which say all but heads and
// activation.
func DetectVision(src kernels.Source) (VisionConfig, error) {
	dims := func(name string) []int {
		_, shape, err := src.Describe(name)
		if err != nil {
			return nil
		}
		return shape
	}
	const part = visionPrefix
	patch, positions := dims(part+"embeddings.patch_embedding.weight"), dims(part+"embeddings.position_embedding.weight")
	fc1, projection := dims(part+"encoder.layers.0.mlp.fc1.weight"), dims("visual_projection.weight")
	if len(patch) != 4 || len(positions) != 2 || len(fc1) != 2 || len(projection) != 2 {
		return VisionConfig{}, fmt.Errorf("must be a CLIPVisionModelWithProjection: %sembeddings, %sencoder and visual_projection", part, part)
	}
	for _, v := range publishedVision {
		if v.HiddenSize != patch[0] || v.ProjectionDim != projection[0] || v.Patch != patch[2] {
			continue
		}
		side := 1
		for side*side < positions[0]-1 {
			side++
		}
		c := VisionConfig{
			HiddenSize: v.HiddenSize, Intermediate: fc1[0], ProjectionDim: v.ProjectionDim, Heads: v.Heads, Channels: 3,
			ImageSize: side * v.Patch, PatchSize: v.Patch, HiddenAct: v.HiddenAct, LayerNormEps: 1e-5,
		}
		for dims(fmt.Sprintf("%sencoder.layers.%d.mlp.fc1.weight", part, c.Layers)) != nil {
			c.Layers++
		}
		return c, c.validate("the shapes of the tensors")
	}
	return VisionConfig{}, fmt.Errorf("an image encoder of hidden size %d, projection %d and patches of %d: must be ViT-H/14, ViT-bigG/14 or ViT-L/14, or come with its config.json, in a folder",
		patch[0], projection[0], patch[2])
}

// Fits checks the sizes against the tensors, before anything is allocated for them. file names the configuration.
func (c VisionConfig) Fits(src kernels.Source, file string) error {
	b := weights.NewBounds(src, file)
	if err := b.Count("num_hidden_layers", c.Layers, 0, visionPrefix+"encoder.layers"); err != nil {
		return err
	}
	return b.Sizes(
		weights.NewSize("hidden_size", c.HiddenSize, visionPrefix+"embeddings.patch_embedding.weight", 0),
		weights.NewSize("patch_size", c.PatchSize, visionPrefix+"embeddings.patch_embedding.weight", 2),
		weights.NewSize("image_size", c.Tokens(), visionPrefix+"embeddings.position_embedding.weight", 0),
		weights.NewSize("intermediate_size", c.Intermediate, visionPrefix+"encoder.layers.0.mlp.fc1.weight", 0),
		weights.NewSize("projection_dim", c.ProjectionDim, "visual_projection.weight", 0),
	)
}
