package imagefile

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
)

// The text is that of A1111's create_infotext.
func TestInfotext(t *testing.T) {
	text := func(prompt string, negative *string) []sdxl.Prompt {
		return []sdxl.Prompt{{Prompt: prompt, NegativePrompt: negative}}
	}
	for name, c := range map[string]struct {
		parameters sdxl.Parameters
		version    string
		want       string
	}{
		"text-to-image": {
			sdxl.Parameters{
				Task: sdxl.TextToImage, Prompts: text("a cat, (a dog:1.2)", new("fog")), ImagesPerPrompt: 1, Seed: 1<<64 - 1, Steps: 20, Guidance: 7.5,
				Scheduler: "dpmpp_2m_sde_karras", Width: 512, Height: 768, Model: "xl-base-1.0.safetensors", ModelHash: "0123456789",
			}, "v1.2.3",
			"a cat, (a dog:1.2)\nNegative prompt: fog\nSteps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 7.5, Seed: 18446744073709551615, Size: 512x768, " +
				"Model hash: 0123456789, Model: xl-base-1.0, RNG: CPU, Version: goxl v1.2.3",
		},
		"image-to-image": {
			sdxl.Parameters{
				Task: sdxl.ImageToImage, Prompts: text("p", new("")), ImagesPerPrompt: 1, Seed: 1, Steps: 5, Guidance: 1, Scheduler: "euler",
				SchedulerClass: "EulerDiscreteScheduler", Width: 8, Height: 16, Strength: 0.3, ClipSkip: 1, Model: "m", VAE: "v.safetensors",
			}, "v",
			"p\nSteps: 5, Sampler: Euler, CFG scale: 1, Seed: 1, Size: 8x16, Model: m, VAE: v.safetensors, Denoising strength: 0.3, Clip skip: 3, RNG: CPU, Version: goxl v",
		},
		"parts": {
			sdxl.Parameters{
				Steps: 4, Scheduler: "euler", Width: 8, Height: 8, Model: "m.safetensors", ModelHash: "0123456789", UNet: "u.safetensors", VAE: "v.safetensors",
				TAESD: "taesdxl_decoder.safetensors", Base: "b", Prediction: "v_prediction",
			}, "v",
			"Steps: 4, Sampler: Euler, CFG scale: 0, Seed: 0, Size: 8x8, Model hash: 0123456789, Model: m, UNet: u.safetensors, VAE: v.safetensors, VAE Decoder: TAESD, RNG: CPU, Version: goxl v",
		},
		"adapters": {
			sdxl.Parameters{Steps: 1, Scheduler: "euler", Width: 8, Height: 8, Model: "m", LoRAs: []sdxl.LoRAParameters{
				{Name: "a, b: c", Hash: "00", ShortHash: "0123456789ab", Strength: "1"}, {Name: "none", Hash: "11", Strength: "1"},
				{Name: "d", ShortHash: "aaaaaaaaaaaa"}, {Name: "a b c", ShortHash: "ba9876543210"},
			}}, "v",
			"Steps: 1, Sampler: Euler, CFG scale: 0, Seed: 0, Size: 8x8, Model: m, Lora hashes: \"a b c: ba9876543210, d: aaaaaaaaaaaa\", RNG: CPU, Version: goxl v",
		},
		"adapter without a hash": {
			sdxl.Parameters{Steps: 1, Scheduler: "euler", Width: 8, Height: 8, Model: "m", LoRAs: []sdxl.LoRAParameters{{Name: "a", Hash: "00", Strength: "1"}}}, "v",
			"Steps: 1, Sampler: Euler, CFG scale: 0, Seed: 0, Size: 8x8, Model: m, RNG: CPU, Version: goxl v",
		},
		"ensemble": {
			sdxl.Parameters{
				Prompts: text(" two\nlines ", nil), ImagesPerPrompt: 1, Steps: 5, Guidance: 1e21, Scheduler: "euler_a", Width: 8, Height: 8, Model: "synth:tiny",
				Experts: []sdxl.ExpertParameters{{Model: "synth:tiny"}, {Model: "a, b: \"c\"\nd é"}}, DenoisingEnd: 0.8,
			}, "v",
			"two\nlines \nSteps: 5, Sampler: Euler a, CFG scale: 1000000000000000000000, Seed: 0, Size: 8x8, Model: \"synth:tiny\", RNG: CPU, " +
				"Refiner: \"a, b: \\\"c\\\"\\nd é\", Refiner switch at: 0.8, Version: goxl v",
		},
		"nothing": {
			sdxl.Parameters{Steps: 1, SchedulerClass: "CrystalBallScheduler", Width: 8, Height: 8, Model: "<m>", DenoisingEnd: 0.5}, "v",
			"Steps: 1, Sampler: CrystalBallScheduler, CFG scale: 0, Seed: 0, Size: 8x8, Model: <m>, RNG: CPU, Version: goxl v",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, (Parameters{Parameters: c.parameters, Version: c.version}).Infotext()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An interval of guidance, PAG and FreeU have the keys of A1111 and Forge in the infotext, where they mean the same, and
// diffusers' names beside it.
func TestGuidanceInTexts(t *testing.T) {
	p := Parameters{Parameters: sdxl.Parameters{
		Steps: 20, Guidance: 7, GuidanceStart: 0.25, GuidanceEnd: 0.8, PAGScale: 3, PAGAppliedLayers: []string{"mid"}, FreeU: &sdxl.FreeU{S1: 0.9, S2: 0.2, B1: 1.3, B2: 1.4},
	}}
	values := ParseInfotext(p.Infotext())
	for key, want := range map[string]string{
		"Skip Early CFG": "0.225", "PerturbedAttentionGuidance_enabled": "True", "PerturbedAttentionGuidance_scale": "3",
		"freeu_enabled": "True", "freeu_b1": "1.3", "freeu_b2": "1.4", "freeu_s1": "0.9", "freeu_s2": "0.2",
	} {
		if values[key] != want {
			t.Errorf("%s is %q, want %q", key, values[key], want)
		}
	}
	texts := p.Texts()
	for _, want := range []Text{
		{"guidance_start", "0.25"}, {"guidance_end", "0.8"}, {"pag_scale", "3"}, {"pag_applied_layers", `["mid"]`}, {"freeu", `{"s1":0.9,"s2":0.2,"b1":1.3,"b2":1.4}`},
	} {
		if !slices.Contains(texts, want) {
			t.Errorf("no %q in %q", want, texts)
		}
	}
	p.PAGAdaptiveScale, p.GuidanceStart, p.FreeU = 0.002, 0, nil
	for key := range ParseInfotext(p.Infotext()) {
		if strings.HasPrefix(key, "Pert") || strings.HasPrefix(key, "freeu") || key == "Skip Early CFG" {
			t.Errorf("%s is said", key)
		}
	}
}

// Every name of a sampler's own ending is known.
func TestSamplerName(t *testing.T) {
	for name, want := range map[string][2]string{
		"euler": {"Euler", ""}, "euler_karras": {"Euler", "Karras"}, "lms_exponential": {"LMS", "Exponential"}, "unipc_beta": {"UniPC", "Beta"}, "heun": {"Heun", ""},
		"ddim": {"DDIM", ""}, "dpmpp_2m": {"DPM++ 2M", ""}, "lcm": {"LCM", ""}, "tcd": {"TCD", ""}, "kdpm2_a_karras": {"DPM2 a", "Karras"},
		"dpmpp_2s": {"DPM++ 2S", ""}, "edm_dpmpp_2m": {"DPM++ 2M EDM", ""}, "flow_euler_beta": {"Euler FlowMatch", "Beta"}, "other_karras": {"other_karras", ""}, "karras": {"karras", ""},
	} {
		if sampler, schedule := SamplerNames(name); sampler != want[0] || schedule != want[1] {
			t.Errorf("%s is %q, %q, want %q", name, sampler, schedule, want)
		}
	}
}

// Scores of 0 are said, and those that are not or mostly so are not.
func TestZeroScores(t *testing.T) {
	for _, c := range []struct {
		score *float64
		want  []string
	}{{nil, nil}, {new(0.0), []string{"0", "0"}}, {new(1.5), []string{"1.5", "1.5"}}} {
		var got []string
		for _, text := range (Parameters{Parameters: sdxl.Parameters{AestheticScore: c.score, NegativeAestheticScore: c.score}}).Texts() {
			if text.Key == "aesthetic_score" || text.Key == "negative_aesthetic_score" {
				got = append(got, text.Value)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// What a preset sets beyond scheduler, steps and guidance, such as the spacing, is known by its name alone.
func TestPresetInTexts(t *testing.T) {
	texts := Parameters{Parameters: sdxl.Parameters{Preset: "lightning4", Scheduler: "euler"}}.Texts()
	if !slices.Contains(texts, Text{"preset", `"lightning4"`}) {
		t.Errorf("%q", texts)
	}
}

// What a model has from elsewhere is said, each under its flag's name.
func TestPartsInTexts(t *testing.T) {
	texts := Parameters{Parameters: sdxl.Parameters{UNet: "u", VAE: "v", TAESD: "t", Base: "b", Prediction: "v_zsnr"}}.Texts()
	for _, want := range []Text{{"unet", "u"}, {"vae", "v"}, {"taesd", "t"}, {"base", "b"}, {"prediction", "v_zsnr"}} {
		if !slices.Contains(texts, want) {
			t.Errorf("no %q in %q", want, texts)
		}
	}
	for _, text := range (Parameters{}).Texts() {
		if slices.Contains([]string{"unet", "vae", "taesd", "base", "prediction"}, text.Key) {
			t.Errorf("%q of a model with nothing from elsewhere", text)
		}
	}
}

// Image i of a batch has the subseed that comes i after the first one's; without a strength there is none.
func TestSubseedInTexts(t *testing.T) {
	p := Parameters{Image: 2, Parameters: sdxl.Parameters{Steps: 20, Subseed: 40, SubseedStrength: 0.25}}
	values := ParseInfotext(p.Infotext())
	if values["Variation seed"] != "42" || values["Variation seed strength"] != "0.25" {
		t.Errorf("%q", p.Infotext())
	}
	if texts := p.Texts(); !slices.Contains(texts, Text{"subseed", "42"}) || !slices.Contains(texts, Text{"subseed_strength", "0.25"}) {
		t.Errorf("%q", texts)
	}
	p.SubseedStrength = 0
	for _, text := range p.Texts() {
		if strings.HasPrefix(text.Key, "subseed") || strings.Contains(text.Value, "Variation") {
			t.Errorf("%q", text)
		}
	}
}

// An image that was made with fewer steps than its parameters have says so.
func TestInterruptedInTexts(t *testing.T) {
	p := Parameters{Parameters: sdxl.Parameters{Steps: 20, Strength: 0.5, Interrupted: &sdxl.Interruption{StepsDone: 3, Steps: 10}}}
	values := ParseInfotext(p.Infotext())
	if values["Steps"] != "20" || values["Interrupted"] != "after 3 of 10 steps" {
		t.Errorf("%q", p.Infotext())
	}
	if texts := p.Texts(); !slices.Contains(texts, Text{"interrupted", `{"steps_done":3,"steps":10}`}) {
		t.Errorf("%q", texts)
	}
	p.Interrupted = nil
	for _, text := range p.Texts() {
		if text.Key == "interrupted" || strings.Contains(text.Value, "Interrupted") {
			t.Errorf("%q", text)
		}
	}
}

// What an image was enlarged by is said as A1111's extras say it, behind how it was made before.
func TestPostprocessing(t *testing.T) {
	made := "a cat\nSteps: 20, Sampler: Euler"
	for _, c := range []struct {
		p      Parameters
		extras string
		texts  map[string]string
	}{
		{Parameters{Parameters: sdxl.Parameters{Task: sdxl.Upscale, Width: 64, Height: 48, Upscale: &sdxl.UpscaleParameters{Upscaler: "x4, plus.pth", Hash: "0123456789", Scale: 2.5}}, Source: "id", SourceInfotext: made},
			`Postprocess upscale by: 2.5, Postprocess upscaler: "x4, plus"`,
			map[string]string{"parameters": made, "image": "id", "upscaler": "x4, plus.pth", "upscaler_hash": "0123456789", "scale": "2.5", "size": "64x48"}},
		{Parameters{Parameters: sdxl.Parameters{Task: sdxl.Upscale, Width: 64, Height: 48, Resize: sdxl.ResizeCrop, Interrupted: &sdxl.Interruption{StepsDone: 1, Steps: 2},
			Upscale: &sdxl.UpscaleParameters{Upscaler: "lanczos", Second: "a.pth", SecondVisibility: 0.5}}},
			"Postprocess upscale to: 64x48, Postprocess upscaler: Lanczos, Postprocess upscaler 2: a",
			map[string]string{"upscaler": "lanczos", "upscaler_2": "a.pth", "upscaler_2_visibility": "0.5", "resize": "crop", "size": "64x48", "interrupted": "after 1 of 2 tiles"}},
	} {
		c.texts["extras"] = c.extras
		got := map[string]string{}
		for _, text := range c.p.Texts() {
			got[text.Key] = text.Value
		}
		if diff := cmp.Diff(c.texts, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		want := c.extras
		if c.p.SourceInfotext != "" {
			want = made + ", " + want
		}
		if got := c.p.Infotext(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
