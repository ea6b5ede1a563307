package sdxl

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// styleCase is a case of tools/reference/prompt_styles.py.
type styleCase struct {
	Name, Prompt, Negative string
	Style                  prompt.Style
	Emphasis               Emphasis
}

// inversions reads the golden's textual inversions.
func inversions(t *testing.T, g *golden.File) (list []TextualInversion) {
	t.Helper()
	var names []string
	if err := json.Unmarshal([]byte(g.Metadata["names"]), &names); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		l, lShape := g.Floats("vectors." + name + ".l")
		v, vShape := g.Floats("vectors." + name + ".g")
		list = append(list, TextualInversion{Name: name, L: &Tensor{Shape: lShape, Data: l}, G: &Tensor{Shape: vShape, Data: v}})
	}
	return list
}

// TestPromptStyles compares embeddings and latents with those of each tool's own code.
func TestPromptStyles(t *testing.T) {
	g := golden.Open(t, "../../testdata/goldens/prompt_styles.safetensors")
	var cases []styleCase
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(cpuDevice(t))})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, c := range cases {
		if !c.Style.Valid() {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			r := Request{
				Prompt: c.Prompt, NegativePrompt: &c.Negative, PromptStyle: c.Style, Emphasis: c.Emphasis, TextualInversions: inversions(t, g),
				Height: 48, Width: 40, Steps: 4, Guidance: new(6.0), Seed: new(uint64(20261129)), LatentsOnly: true,
			}
			run, err := m.Start(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			first := run.conditioning.phases[0]
			for name, got := range map[string][]float32{
				"hidden": first.positive[0].text[0], "pooled": first.positive[0].pooled[0],
				"negative_hidden": first.negative.text[0], "negative_pooled": first.negative.pooled[0],
			} {
				want, _ := g.Floats(c.Name + "." + name)
				golden.Near(t, name, got, want, 1e-5)
			}
			for run.Next() {
				if err := run.Step(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			result, err := run.Finish(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			want, _ := g.Floats(c.Name + ".latents")
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
		})
	}
}
