package sdxl

import (
	"image"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/tokenizer/prompt"
)

// CFG++ needs the unconditional prediction at any scale of guidance, also where the other samplers compute none.
func TestCFGPPAtLowGuidance(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	generate := func(r Request) []float32 {
		t.Helper()
		r.Width, r.Height, r.Steps, r.Seed, r.LatentsOnly = 48, 48, 4, new(uint64(1)), true
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return result.Latents.Data
	}
	differ := func(what string, a, b []float32, want bool) {
		t.Helper()
		var difference, scale float64
		for i := range a {
			difference += float64(a[i]-b[i]) * float64(a[i]-b[i])
			scale += float64(a[i]) * float64(a[i])
		}
		if (difference > 1e-6*scale) != want {
			t.Errorf("%s: squared difference %v of %v, want one: %v", what, difference, scale, want)
		}
	}
	for _, guidance := range []float64{0.6, 1} {
		plain := generate(Request{Prompt: "a", NegativePrompt: new("b"), Scheduler: "comfy_euler_cfg_pp", Guidance: &guidance})
		other := generate(Request{Prompt: "a", NegativePrompt: new("something else"), Scheduler: "comfy_euler_cfg_pp", Guidance: &guidance})
		differ("another negative prompt", plain, other, true)
	}
	half := generate(Request{Prompt: "a", Scheduler: "comfy_dpmpp_2m_cfg_pp", Guidance: new(0.5)})
	whole := generate(Request{Prompt: "a", Scheduler: "comfy_dpmpp_2m_cfg_pp", Guidance: new(1.0)})
	differ("half of the guidance", half, whole, true)
	// A1111's divides the scale.
	zero := generate(Request{Prompt: "a", Scheduler: "k_ddim_cfgpp", Guidance: new(0.0)})
	empty := generate(Request{Prompt: "completely different", Scheduler: "k_ddim_cfgpp", Guidance: new(0.0)})
	differ("another prompt at guidance 0", zero, empty, false)
	full := generate(Request{Prompt: "a", Scheduler: "k_ddim_cfgpp", Guidance: new(12.5)})
	differ("guidance 12.5 in place of 0", zero, full, true)
	// Two parts of one weight are the prompt itself twice.
	one := generate(Request{Prompt: "a", Scheduler: "comfy_dpmpp_2m_cfg_pp", Guidance: new(2.0), PromptStyle: prompt.A1111})
	two := generate(Request{Prompt: "a :0.5 AND a :0.5", Scheduler: "comfy_dpmpp_2m_cfg_pp", Guidance: new(2.0), PromptStyle: prompt.A1111})
	differ("AND", one, two, false)
}

// Previews keep x0 in one more history tensor, behind the unconditional prediction, and change nothing.
func TestCFGPPWithPreview(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for _, name := range []string{"comfy_euler_cfg_pp", "comfy_dpmpp_2s_ancestral_cfg_pp", "k_dpmpp_sde"} {
		r := Request{Prompt: "a", Width: 48, Height: 48, Steps: 4, Seed: new(uint64(1)), Scheduler: name, LatentsOnly: true}
		plain, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		r.Preview = &Preview{Func: func(int, []*image.NRGBA) { shown++ }}
		preview, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if shown == 0 || !slices.Equal(plain.Latents.Data, preview.Latents.Data) {
			t.Errorf("%s: %d previews; the latents are the same: %v", name, shown, slices.Equal(plain.Latents.Data, preview.Latents.Data))
		}
	}
}

// A UNet that embeds the scale of guidance has no unconditional prediction.
func TestCFGPPOfEmbeddedGuidance(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny-c")
	_, err := m.Generate(t.Context(), Request{Prompt: "a", Width: 48, Height: 32, Steps: 4, Scheduler: "comfy_euler_cfg_pp"})
	if err == nil || !strings.Contains(err.Error(), "scheduler") || !strings.Contains(err.Error(), "comfy_euler_cfg_pp") {
		t.Errorf("%v", err)
	}
}
