package imagefile

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
)

func TestParseInfotext(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want map[string]string
	}{
		"A1111's own example": {
			"girl with a beret, ((eyeshadow)), (coquettish)\nNegative prompt: ugly, (((deformed))), [blurry]\n" +
				"Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 965400086, Size: 512x768, Model hash: 45dee52b",
			map[string]string{
				"Prompt": "girl with a beret, ((eyeshadow)), (coquettish)", "Negative prompt": "ugly, (((deformed))), [blurry]",
				"Steps": "20", "Sampler": "Euler a", "CFG scale": "7", "Seed": "965400086", "Size-1": "512", "Size-2": "768", "Model hash": "45dee52b",
			},
		},
		"lines of prompts, and values in quotes": {
			"  a\nb \nNegative prompt: c\n d\nSteps: 1, Lora hashes: \"x: 12, y: \\\"34\\\"\", Empty: , Model: ü v1.0\n",
			map[string]string{"Prompt": "a\nb", "Negative prompt": "c\nd", "Steps": "1", "Lora hashes": `x: 12, y: "34"`, "Model": "ü v1.0"},
		},
		"fewer than three parameters are a prompt": {
			"a photo\nSteps: 1, Seed: 2", map[string]string{"Prompt": "a photo\nSteps: 1, Seed: 2", "Negative prompt": ""},
		},
		"nothing": {"", map[string]string{"Prompt": "", "Negative prompt": ""}},
	} {
		if diff := cmp.Diff(c.want, ParseInfotext(c.text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What this package writes it reads again, and A1111's fillers give way to it.
func TestInfotextRoundTrip(t *testing.T) {
	p := Parameters{Version: "v1", Image: 1, Parameters: sdxl.Parameters{
		Task: sdxl.ImageToImage, ImagesPerPrompt: 1, Images: 2, Width: 64, Height: 128, Steps: 7, Guidance: 3.5, Seeds: []uint64{8, 9}, Scheduler: "k_dpmpp_2m_karras",
		Strength: 0.75, ClipSkip: 1, Model: "m.safetensors", ModelHash: "0123456789",
		Prompts: []sdxl.Prompt{{Prompt: "one"}, {Prompt: "two: (lines)\nof it", NegativePrompt: new("fog")}},
	}}
	text, rest := InfotextOf(p.Texts())
	if len(rest) != len(p.Texts())-1 {
		t.Errorf("%d other texts, want %d", len(rest), len(p.Texts())-1)
	}
	values := ParseInfotext(text)
	want := map[string]string{
		"Prompt": "two: (lines)\nof it", "Negative prompt": "fog", "Steps": "7", "Sampler": "DPM++ 2M", "Schedule type": "Karras", "CFG scale": "3.5",
		"Seed": "9", "Size-1": "64", "Size-2": "128", "Model hash": "0123456789", "Model": "m", "Denoising strength": "0.75", "Clip skip": "3",
		"RNG": "CPU", "Version": "goxl v1",
	}
	if diff := cmp.Diff(want, values); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	all := FillInfotext(values)
	if all["RNG"] != "CPU" || all["Schedule type"] != "Karras" || all["Hires resize-1"] != 0 || all["VAE Decoder"] != "Full" || all["Clip skip"] != "3" {
		t.Errorf("%v", all)
	}
	if all := FillInfotext(ParseInfotext("x")); all["RNG"] != "GPU" || all["Clip skip"] != "1" || all["Schedule type"] != "Automatic" {
		t.Errorf("%v", all)
	}
}

func TestInfotextOf(t *testing.T) {
	comment := Text{"UserComment", "c"}
	if text, rest := InfotextOf([]Text{{"a", "1"}, comment}); text != "c" || len(rest) != 1 || rest[0].Key != "a" {
		t.Errorf("%q %v", text, rest)
	}
	if text, rest := InfotextOf([]Text{comment, {"parameters", "p"}}); text != "p" || len(rest) != 1 || rest[0] != comment {
		t.Errorf("%q %v", text, rest)
	}
	if text, rest := InfotextOf([]Text{{"a", "1"}}); text != "" || len(rest) != 1 {
		t.Errorf("%q %v", text, rest)
	}
}

// No text is too odd to be read.
func FuzzParseInfotext(f *testing.F) {
	f.Add("a\nNegative prompt: b\nSteps: 1, Seed: 2, Size: 3x4, X: \"\\\"")
	f.Fuzz(func(t *testing.T, text string) { FillInfotext(ParseInfotext(text)) })
}
