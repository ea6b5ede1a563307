package sdxl

import (
	"errors"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestHiresOwn: the second pass has a prompt and a scheduler of its own, and computes what image-to-image of the enlarged
// latents does with them.
func TestHiresOwn(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := small()
	r.LatentsOnly, r.Steps, r.Scheduler = true, 3, "euler"
	r.NegativePrompt = new("fog")
	first, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Hires = &Hires{Steps: 2, Strength: 0.5, Prompt: "a second prompt", NegativePrompt: new("rain"), Scheduler: "k_heun"}
	result, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := HiresParameters{
		Scale: 2, Width: 96, Height: 80, Steps: 2, Strength: 0.5, Upscaler: "latent", Prompt: "a second prompt", NegativePrompt: r.Hires.NegativePrompt, Scheduler: "k_heun",
	}
	if got := result.Parameters; *got.Hires != want || got.Prompts[0].Prompt != r.Prompt || got.Scheduler != "euler" {
		t.Errorf("%+v with %+v, want %+v", got, got.Hires, want)
	}
	two := r
	two.Hires, two.Width, two.Height = nil, 0, 0
	two.Prompt, two.NegativePrompt, two.Scheduler, two.Steps, two.Strength = "a second prompt", new("rain"), "k_heun", 4, 2.5/4
	two.ImageLatents = latentModes["latent"].resize(first.Latents, 2*first.Latents.Shape[2], 2*first.Latents.Shape[3])
	second, err := m.Generate(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	golden.Near(t, "latents", result.Latents.Data, second.Latents.Data, 1e-6)

	r.Prompt, r.NegativePrompt, r.Prompts = "", nil, []Prompt{{Prompt: "a"}}
	var bad *RequestError
	if _, err := m.Generate(t.Context(), r); !errors.As(err, &bad) || bad.Field != "hires.prompt" {
		t.Errorf("a list of prompts: %v", err)
	}
}
