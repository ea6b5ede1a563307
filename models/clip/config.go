package clip

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

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
	Architectures  []string `json:"architectures"` // what the file was saved from; may be empty
	WithProjection bool     `json:"-"`             // of class CLIPTextModelWithProjection; see As

	Unknown []string `json:"-"` // keys of the file that transformers' CLIPTextConfig does not have; they change nothing
}

// The classes of text encoders.
const (
	plainClass      = "CLIPTextModel"
	projectionClass = "CLIPTextModelWithProjection"
)

// As is the configuration of the class that loads it, CLIPTextModel or CLIPTextModelWithProjection. A model folder
// names it in model_index.json, and that counts, whatever architectures says.
func (c Config) As(class string) (Config, error) {
	if class != plainClass && class != projectionClass {
		return c, fmt.Errorf("text encoder of class %s: must be %s or %s", class, plainClass, projectionClass)
	}
	c.Architectures, c.WithProjection = []string{class}, class == projectionClass
	return c, nil
}

// ignored are keys that do not change inference: this class's, then those that transformers has written for models of
// any kind.
var ignored = []string{
	"attention_dropout", "bos_token_id", "dropout", "dtype", "initializer_factor", "initializer_range", "model_type", "pad_token_id",
	"torch_dtype", "transformers_version", "return_dict", "output_hidden_states", "use_cache", "gradient_checkpointing",

	"output_attentions", "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type",
}

// ParseConfig reads config.json; file is the name that errors give it. A value that changes the numbers and is not
// computed here is an error; keys that the class does not have are listed in Unknown. The class is the file's own
// architectures, CLIPTextModel where it says nothing of use; see As. Of the file of a whole CLIP, transformers takes
// text_config alone.
func ParseConfig(data []byte, file string) (Config, error) {
	var whole struct {
		Text json.RawMessage `json:"text_config"`
	}
	if json.Unmarshal(data, &whole) == nil && bytes.HasPrefix(whole.Text, []byte("{")) {
		data, file = whole.Text, file+": text_config"
	}
	c := Config{
		VocabSize: 49408, HiddenSize: 512, Intermediate: 2048, Layers: 12, Heads: 8, MaxPositions: 77,
		HiddenAct: "quick_gelu", LayerNormEps: 1e-5, ProjectionDim: 512, EOSTokenID: 49407,
	}
	var err error
	if c.Unknown, err = weights.ParseConfig(data, file, &c, ignored...); err != nil {
		return c, err
	}
	bad := func(key string, value any, allowed string) error {
		return &weights.ConfigError{File: file, Key: key, Value: fmt.Sprint(value), Allowed: allowed}
	}
	switch {
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
	c.WithProjection = slices.Contains(c.Architectures, projectionClass)
	return c, nil
}
