package clip_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/models/clip"
)

// TestParseConfig goes by what transformers 5.23 makes of the same files.
func TestParseConfig(t *testing.T) {
	c, err := clip.ParseConfig([]byte(`{"architectures": null, "hidden_size": 64.0, "num_attention_heads": 4, "is_decoder": false, "id2label": {"0": "x"}}`), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	if c.HiddenSize != 64 || c.WithProjection || !slices.Equal(c.Unknown, []string{"is_decoder"}) {
		t.Errorf("%+v", c)
	}
	// Of a whole CLIP's file the part for texts counts, and nothing beside it.
	c, err = clip.ParseConfig([]byte(`{"model_type": "clip", "hidden_size": 77, "num_attention_heads": 7, "vision_config": {}, "text_config": {"hidden_size": 96, "num_attention_heads": 3, "own": 1}}`), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	if c.HiddenSize != 96 || c.Heads != 3 || !slices.Equal(c.Unknown, []string{"own"}) {
		t.Errorf("%+v", c)
	}
	if _, err := clip.ParseConfig([]byte(`{"text_config": {"hidden_act": "relu"}}`), "config.json"); err == nil || !strings.Contains(err.Error(), "config.json: text_config: \"hidden_act\"") {
		t.Errorf("error %v", err)
	}
}

func TestAs(t *testing.T) {
	c, err := clip.ParseConfig([]byte(`{"architectures": ["CLIPTextModelWithProjection"]}`), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	if !c.WithProjection {
		t.Error("architectures does not count where nothing else is known")
	}
	for class, want := range map[string]bool{"CLIPTextModel": false, "CLIPTextModelWithProjection": true} {
		as, err := c.As(class)
		if err != nil || as.WithProjection != want {
			t.Errorf("%s: projection %v, %v", class, as.WithProjection, err)
		}
	}
	if _, err := c.As("ChatGLMModel"); err == nil || !strings.Contains(err.Error(), "ChatGLMModel: must be CLIPTextModel or") {
		t.Errorf("error %v", err)
	}
}
