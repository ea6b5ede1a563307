package sdxl

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/tokenizer"
)

// TestTokens compares the ids that each model folder's tokenizers give with transformers'.
func TestTokens(t *testing.T) {
	m := newModels(t)
	for _, name := range []string{"tiny", "tiny-b", "tiny-c", "tiny-refiner-own"} {
		p := m.open(name)
		g := golden.Open(t, testdata+"/goldens/"+name+".safetensors")
		var prompts []string
		if err := json.Unmarshal([]byte(g.Metadata["prompts"]), &prompts); err != nil {
			t.Fatal(err)
		}
		for component, tokens := range map[string]*tokenizer.Tokenizer{"text_encoder": p.Tokenizer, "text_encoder_2": p.Tokenizer2} {
			if tokens == nil || !g.Has(component+".ids") {
				continue
			}
			want, shape := g.Ints(component + ".ids")
			for i, prompt := range prompts {
				got, err := tokens.Encode(prompt)
				if err != nil {
					t.Fatal(err)
				}
				if w := want[i*shape[1] : (i+1)*shape[1]]; !slices.Equal(got.IDs, w) {
					t.Errorf("%s %s: %q gives\n%v, want\n%v", name, component, prompt, got.IDs, w)
				}
			}
		}
	}
}
