package clip

import (
	"fmt"

	"github.com/goxl/goxl/nn/weights"
)

// Config is the part of a CLIP text encoder's config.json that shapes it.
type Config struct {
	VocabSize      int      `json:"vocab_size"`
	HiddenSize     int      `json:"hidden_size"`
	Intermediate   int      `json:"intermediate_size"`
	Layers         int      `json:"num_hidden_layers"`
	Heads          int      `json:"num_attention_heads"`
	MaxPositions   int      `json:"max_position_embeddings"`
	HiddenAct      string   `json:"hidden_act"` // quick_gelu or gelu
	LayerNormEps   float64  `json:"layer_norm_eps"`
	ProjectionDim  int      `json:"projection_dim"`
	EOSTokenID     int32    `json:"eos_token_id"`  // 2 selects the old pooling rule
	Architectures  []string `json:"architectures"` // CLIPTextModel or CLIPTextModelWithProjection
	WithProjection bool     `json:"-"`
}

// ignored are keys that do not change inference.
var ignored = []string{
	"attention_dropout", "bos_token_id", "dropout", "dtype", "initializer_factor", "initializer_range", "model_type", "pad_token_id",
	"torch_dtype", "transformers_version", "return_dict", "output_hidden_states", "use_cache", "gradient_checkpointing",
}

// ParseConfig reads config.json strictly; file is the name that errors give it.
func ParseConfig(data []byte, file string) (Config, error) {
	c := Config{
		VocabSize: 49408, HiddenSize: 512, Intermediate: 2048, Layers: 12, Heads: 8, MaxPositions: 77,
		HiddenAct: "quick_gelu", LayerNormEps: 1e-5, ProjectionDim: 512, EOSTokenID: 49407,
	}
	if err := weights.ParseConfig(data, file, &c, ignored...); err != nil {
		return c, err
	}
	bad := func(key string, value any, allowed string) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: allowed}
	}
	switch {
	case len(c.Architectures) != 1 || c.Architectures[0] != "CLIPTextModel" && c.Architectures[0] != "CLIPTextModelWithProjection":
		return c, bad("architectures", c.Architectures, "CLIPTextModel or CLIPTextModelWithProjection")
	case c.HiddenAct != "quick_gelu" && c.HiddenAct != "gelu":
		return c, bad("hidden_act", c.HiddenAct, "quick_gelu or gelu")
	case min(c.VocabSize, c.HiddenSize, c.Intermediate, c.ProjectionDim) < 1:
		return c, bad("vocab_size, hidden_size, intermediate_size, projection_dim", []int{c.VocabSize, c.HiddenSize, c.Intermediate, c.ProjectionDim}, "positive")
	case c.Layers < 2:
		return c, bad("num_hidden_layers", c.Layers, "at least 2")
	case c.Heads < 1 || c.HiddenSize%c.Heads != 0:
		return c, bad("num_attention_heads", c.Heads, fmt.Sprintf("a divisor of hidden_size %d", c.HiddenSize))
	case c.MaxPositions < 3:
		return c, bad("max_position_embeddings", c.MaxPositions, "at least 3")
	case !(c.LayerNormEps > 0):
		return c, bad("layer_norm_eps", c.LayerNormEps, "positive")
	}
	c.WithProjection = c.Architectures[0] == "CLIPTextModelWithProjection"
	return c, nil
}
