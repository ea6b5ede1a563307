package sdxl

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// fieldCase is a goldenCase with what tools/reference/request_fields.py has beyond cases.py.
type fieldCase struct {
	goldenCase
	Prompts         [][]string // prompt, negative, prompt_2, negative_2
	Seeds           []uint64
	Embeds          string
	PositiveOnly    bool      `json:"positive_only"`
	GuidancePerStep []float64 `json:"guidance_per_step"`
	Interrupt       int
	Sigmas          []float64
	Experts         []float64
	VAE             string
}

// embeddingsOf reads a set of prompt embeddings.
func embeddingsOf(g *golden.File, set string) *Embeddings {
	read := func(name string) *Tensor {
		if name = set + "." + name; !g.Has(name) {
			return nil
		}
		return latentsOf(g.Floats(name))
	}
	return &Embeddings{
		Prompt: read("prompt_embeds"), Pooled: read("pooled_prompt_embeds"), Negative: read("negative_prompt_embeds"), NegativePooled: read("negative_pooled_prompt_embeds"),
	}
}

func (c fieldCase) request(t *testing.T, g *golden.File) Request {
	var latents string
	latents, c.InputLatents = c.InputLatents, ""
	r := c.goldenCase.request(t, g)
	if latents != "" {
		r.ImageLatents = latentsOf(g.Floats(latents))
	}
	if c.Negative2 == "" {
		r.NegativePrompt2 = nil
	}
	if c.Prompts != nil {
		r.Prompt, r.Prompts = "", promptsOf(c.Prompts)
	}
	if c.Embeds != "" {
		r.Prompt, r.Embeddings = "", embeddingsOf(g, c.Embeds)
		if c.PositiveOnly {
			r.Embeddings.Negative, r.Embeddings.NegativePooled = nil, nil
		}
	}
	if c.Seeds != nil {
		r.Seed, r.Seeds = nil, c.Seeds
	}
	r.GuidancePerStep, r.Interrupt, r.Sigmas = c.GuidancePerStep, c.Interrupt, c.Sigmas
	return r
}

func promptsOf(rows [][]string) (list []Prompt) {
	for _, row := range rows {
		p := Prompt{Prompt: row[0]}
		if len(row) > 1 {
			p.NegativePrompt = &row[1]
		}
		if len(row) > 2 {
			p.Prompt2, p.NegativePrompt2 = row[2], &row[3]
		}
		list = append(list, p)
	}
	return list
}

// TestRequestFields compares what a request can hold beyond TestGoldens' table with diffusers: lists of prompts and
// generators, prompt embeddings, guidance that changes on the way, three experts, an interrupted run, another VAE.
func TestRequestFields(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/request_fields.safetensors")
	var cases []fieldCase
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 89 {
		t.Fatalf("%d cases, want the whole list", len(cases))
	}
	m := newModels(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r := c.request(t, g)
			hasImage := g.Has(c.Name + ".image")
			r.LatentsOnly = !hasImage
			result, err := c.run(t, m, r)
			if err != nil {
				t.Fatal(err)
			}
			want, shape := g.Floats(c.Name)
			if got := result.Latents.Shape; fmt.Sprint(got) != fmt.Sprint(shape) {
				t.Fatalf("latents %v, want %v", got, shape)
			}
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if hasImage {
				compareImages(t, result, g, c.Name+".image")
			}
		})
	}
}

// run generates with the case's model, whose VAE may be another's, or with its three experts.
func (c fieldCase) run(t *testing.T, m *models, r Request) (*Result, error) {
	p := m.open(c.Model)
	if c.Experts != nil {
		return Ensemble(t.Context(), r, Expert{p, c.Experts[0]}, Expert{p, c.Experts[1]}, Expert{Model: m.open("tiny-refiner")})
	}
	if c.VAE != "" {
		var err error
		if p, err = Open(t.Context(), "synth:"+c.Model, Options{Host: p.Host(), VAE: m.folder(c.VAE)}); err != nil {
			t.Fatal(err)
		}
		defer p.Close()
	}
	return p.Generate(t.Context(), r)
}

// TestEncodePrompt compares prompt embeddings with those of diffusers' encode_prompt.
func TestEncodePrompt(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/request_fields.safetensors")
	var cases []fieldCase
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	two := promptsOf(cases[0].Prompts)
	m := newModels(t)
	for set, c := range map[string]struct {
		model   string
		prompts []Prompt
	}{"two": {"tiny", two}, "refiner": {"tiny-refiner", two}, "b-positive": {"tiny-b", []Prompt{{Prompt: two[0].Prompt}}}} {
		got, warnings, err := m.open(c.model).EncodePrompt(t.Context(), 0, c.prompts...)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v, warnings %q", set, err, warnings)
		}
		want := embeddingsOf(g, set)
		for name, pair := range map[string][2]*Tensor{
			"prompt_embeds": {got.Prompt, want.Prompt}, "pooled_prompt_embeds": {got.Pooled, want.Pooled},
			"negative_prompt_embeds": {got.Negative, want.Negative}, "negative_pooled_prompt_embeds": {got.NegativePooled, want.NegativePooled},
		} {
			if pair[1] == nil {
				continue
			}
			if fmt.Sprint(pair[0].Shape) != fmt.Sprint(pair[1].Shape) {
				t.Errorf("%s: %s is %v, want %v", set, name, pair[0].Shape, pair[1].Shape)
				continue
			}
			golden.Near(t, set+" "+name, pair[0].Data, pair[1].Data, 1e-5)
		}
	}
}
