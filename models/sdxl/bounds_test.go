package sdxl

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// unbounded are numbers that shape nothing: a model is the same whatever they are.
var unbounded = []string{
	"text_encoder bos_token_id", "text_encoder pad_token_id", "text_encoder projection_dim", "text_encoder initializer_factor", "text_encoder attention_dropout",
	"text_encoder_2 bos_token_id", "text_encoder_2 pad_token_id", "text_encoder_2 initializer_factor", "text_encoder_2 attention_dropout",
	"unet addition_embed_type_num_heads", "unet freq_shift", "unet dropout", "unet resnet_out_scale_factor", "scheduler sample_max_value", "goxl.json guidance_scale", "goxl.json strength", "goxl.json trained_pixels",
}

// more are numbers that the configurations leave out or null.
var more = map[string]map[string]any{
	"unet":      {"time_cond_proj_dim": 1, "time_embedding_dim": 1, "reverse_transformer_layers_per_block": []any{1., 1., 1.}},
	"goxl.json": {"height": 64, "width": 64, "num_inference_steps": 2, "guidance_scale": 5, "strength": 1, "trained_pixels": 64},
}

// TestHugeNumbers gives every count and size of every configuration values that no file of weights has room for. Each
// is refused by name, and before memory is taken for it.
func TestHugeNumbers(t *testing.T) {
	dev := newModels(t).dev
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "goxl.json"), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"unet": "unet/config.json", "vae": "vae/config.json", "text_encoder": "text_encoder/config.json", "text_encoder_2": "text_encoder_2/config.json",
		"scheduler": "scheduler/scheduler_config.json", "tokenizer": "tokenizer/tokenizer_config.json", "tokenizer_2": "tokenizer_2/tokenizer_config.json", "goxl.json": "goxl.json",
	}
	tried := 0
	for component, name := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		original, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var content map[string]any
		if err := json.Unmarshal(original, &content); err != nil {
			t.Fatal(err)
		}
		maps.Copy(content, more[component])
		for key, value := range content {
			// 3·2^n, for what has to be a multiple of the levels' 1, 2 and 3 heads.
			for _, huge := range []int64{3 << 31, 3 << 60} {
				var mutated any
				switch v := value.(type) {
				case int:
					mutated = huge
				case float64:
					if v != float64(int(v)) {
						continue
					}
					mutated = huge
				case []any:
					if _, ok := v[0].(float64); !ok {
						continue
					}
					mutated = slices.Repeat([]any{huge}, len(v))
				default:
					continue
				}
				edit(t, file, func(c map[string]any) { c[key] = mutated })
				tried++
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				p, err := Open(t.Context(), dir, Options{Host: hostOf(dev)})
				runtime.ReadMemStats(&after)
				if p != nil {
					_, err = p.Resolve(Request{})
					p.Close()
				}
				if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
					t.Errorf("%s: %s of %d takes %d MB", component, key, huge, used>>20)
				}
				if err == nil && !slices.Contains(unbounded, component+" "+key) {
					t.Errorf("%s: %s of %d is taken", component, key, huge)
				}
				if err != nil && !slices.Contains(unbounded, component+" "+key) {
					for _, want := range []string{key, fmt.Sprint(huge)} {
						if text := err.Error(); !strings.Contains(text, want) || !strings.Contains(text, "allowed: ") && !strings.Contains(text, "must be ") && !strings.Contains(text, "want ") {
							t.Errorf("%s: %s of %d: error %v, want %q and what is allowed", component, key, huge, err, want)
						}
					}
				}
				if err := os.WriteFile(file, original, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d values tried", tried)
	}
}
