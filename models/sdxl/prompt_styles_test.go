package sdxl

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/nn"
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
	if len(cases) < 14 {
		t.Fatalf("%d cases, want the whole list", len(cases))
	}
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(cpuDevice(t))})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, c := range cases {
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

// TestPromptErrors wants what a style can't do to be a RequestError that names the field.
func TestPromptErrors(t *testing.T) {
	m, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(cpuDevice(t))})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	l, g := m.TextEncoder.Config.HiddenSize, m.TextEncoder2.Config.HiddenSize
	good := TextualInversion{Name: "x", L: nn.NewTensor(2, l), G: nn.NewTensor(2, g)}
	nan := TextualInversion{Name: "y", L: nn.NewTensor(1, l), G: nn.NewTensor(1, g)}
	nan.G.Data[3] = float32(math.NaN())
	for _, c := range []struct {
		field, says string
		change      func(*Request)
	}{
		{"prompt_style", "comfy", func(r *Request) { r.PromptStyle = "webui" }},
		{"emphasis", "nonorm", func(r *Request) { r.PromptStyle, r.Emphasis = prompt.A1111, "loud" }},
		{"emphasis", "a1111", func(r *Request) { r.Emphasis = EmphasisNoNorm }},
		{"prompt", "32768", func(r *Request) { r.PromptStyle, r.Prompt = prompt.Long, strings.Repeat("a", MaxPromptBytes+1) }},
		{"prompt", "16", func(r *Request) { r.PromptStyle, r.Prompt = prompt.A1111, strings.Repeat("a AND ", 20) }},
		{"prompt", "weights", func(r *Request) {
			r.Prompt, r.PromptStyle, r.Prompts = "", prompt.A1111, []Prompt{{Prompt: "a AND b"}, {Prompt: "a"}}
		}},
		{"prompt", "finite", func(r *Request) { r.PromptStyle, r.Prompt = prompt.Comfy, "(a:1e39)" }},
		{"pag_scale", "AND", func(r *Request) { r.PromptStyle, r.Prompt, r.PAGScale = prompt.A1111, "a AND b", 3 }},
		{"guidance_rescale", "AND", func(r *Request) { r.PromptStyle, r.Prompt, r.GuidanceRescale = prompt.A1111, "a AND b", new(0.5) }},
		{"textual_inversions", "names", func(r *Request) { r.TextualInversions = []TextualInversion{good, good} }},
		{"textual_inversions", "another file of the same name", func(r *Request) { r.TextualInversions = []TextualInversion{{Name: "x", L: good.L}} }},
		{"textual_inversions", "clip_l", func(r *Request) { r.TextualInversions = []TextualInversion{{Name: "x", G: good.G}} }},
		{"textual_inversions", "numbers", func(r *Request) {
			r.TextualInversions = []TextualInversion{{Name: "x", L: good.L, G: nn.NewTensor(2, g+1)}}
		}},
		{"textual_inversions", "75", func(r *Request) {
			r.TextualInversions = []TextualInversion{{Name: "x", L: nn.NewTensor(76, l), G: good.G}}
		}},
		{"textual_inversions", "finite", func(r *Request) { r.TextualInversions = []TextualInversion{nan} }},
	} {
		r := small()
		r.LatentsOnly, r.Steps = true, 1
		c.change(&r)
		_, err := m.Generate(t.Context(), r)
		var bad *RequestError
		if !errors.As(err, &bad) || bad.Field != c.field || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s, %s: %v", c.field, c.says, err)
		}
	}
}

// TestUnevenInversion: each encoder reads its own number of vectors, as when diffusers loads a file for each, and the
// numbers are in a warning.
func TestUnevenInversion(t *testing.T) {
	m := newModels(t).open("tiny")
	e := TextualInversion{Name: "thing", L: nn.NewTensor(3, m.TextEncoder.Config.HiddenSize), G: nn.NewTensor(1, m.TextEncoder2.Config.HiddenSize)}
	r := with(func(r *Request) {
		r.Prompt, r.TextualInversions, r.LatentsOnly = "a thing", []TextualInversion{e}, true
	})
	result, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "3 vectors for text_encoder (clip_l) and 1 for text_encoder_2 (clip_g)") {
		t.Errorf("warnings %q", result.Warnings)
	}
	e.G = nn.NewTensor(3, m.TextEncoder2.Config.HiddenSize)
	r.TextualInversions = []TextualInversion{e}
	if result, err = m.Generate(t.Context(), r); err != nil || len(result.Warnings) > 0 {
		t.Errorf("%v, warnings %q", err, result.Warnings)
	}
}
