package sdxl

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
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
		for component, e := range map[string]*textEncoder{"text_encoder": p.encoder1, "text_encoder_2": p.encoder2} {
			if e == nil || !g.Has(component+".ids") {
				continue
			}
			want, shape := g.Ints(component + ".ids")
			for i, prompt := range prompts {
				got, err := e.tokenizer.Encode(prompt)
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
