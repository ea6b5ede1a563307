package server

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// What a model makes of A1111's masks, second passes and units is what it makes of the library's fields for them.
func TestSDFlow(t *testing.T) {
	dir := t.TempDir()
	if err := sdxl.SynthesiseControl(t.Context(), "controlnet", true, kernels.F32, filepath.Join(dir, "control", "net")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "ip"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, base := tinyBench(t, dir)
	start, mask := photo(t, 64, 48), halfMask(t, 64, 48)
	init, source := inBase64(start), decodeBase64(t, inBase64(start))
	net := filepath.Join(dir, "control", "net")
	unit := func(more string) string {
		return `,"alwayson_scripts":{"controlnet":{"args":[{"model":"net"` + more + `}]}}`
	}
	for name, c := range map[string]struct {
		route, body string
		want        sdxl.Request
	}{
		"mask": {
			"img2img", `"init_images":["` + init + `"],"mask":"` + inBase64(mask) + `","mask_blur":2,"inpainting_fill":1,"inpaint_full_res":false,"resize_mode":1,"denoising_strength":0.8,"width":48,"height":48`,
			sdxl.Request{
				Image: source, Mask: decodeBase64(t, inBase64(mask)), MaskBlur: 2, InpaintFill: sdxl.FillOriginal, Resize: sdxl.ResizeCrop, Strength: 0.8, Width: 48, Height: 48,
			},
		},
		"part": {
			"img2img", `"init_images":["` + init + `"],"mask":"` + inBase64(mask) + `","inpainting_mask_invert":1,"inpaint_full_res_padding":4,"denoising_strength":0.8,"width":64,"height":64` + unit(""),
			sdxl.Request{
				Image: source, Mask: decodeBase64(t, inBase64(mask)), MaskInvert: true, MaskBlur: 4, InpaintFill: sdxl.FillBlur, MaskPadding: new(4), Strength: 0.8, Width: 64, Height: 64,
				Controls: []sdxl.Control{{Path: net, Image: source}},
			},
		},
		"second pass": {
			"txt2img", `"width":64,"height":48,"enable_hr":true,"hr_scale":1.5,"hr_second_pass_steps":2,"denoising_strength":0.5,"hr_prompt":"b","hr_sampler_name":"Heun"` +
				unit(`,"image":"`+init+`","module":"canny","threshold_a":10,"threshold_b":20,"weight":0.5,"resize_mode":2,"control_mode":2,"guidance_end":0.6`),
			sdxl.Request{
				Width: 64, Height: 48, Hires: &sdxl.Hires{Scale: 1.5, Steps: 2, Strength: 0.5, Prompt: "b", Scheduler: "k_heun"},
				Controls: []sdxl.Control{{Path: net, Image: source, Preprocessor: "canny:10:20", Scale: new(0.5), Resize: sdxl.ResizeFill, GuessMode: true, End: 0.6}},
			},
		},
	} {
		a := decodeSD(t, b.do("POST", "/sdapi/v1/"+c.route, `{"prompt":"a","negative_prompt":"n","seed":3,"steps":4,"cfg_scale":5,"sampler_name":"Euler",`+c.body+`}`))
		r := c.want
		r.PromptStyle, r.Emphasis, r.Preset, r.Prompt, r.NegativePrompt = prompt.A1111, sdxl.EmphasisOriginal, sdxl.NoPreset, "a", new("n")
		r.Seed, r.Steps, r.Guidance, r.Scheduler = new(uint64(3)), 4, new(5.0), "k_euler"
		want, err := base.Generate(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := decodeBase64(t, a.Images[0]); got.Rect != want.Images[0].Rect || !bytes.Equal(got.Pix, want.Images[0].Pix) {
			t.Errorf("%s: an image of %v that is not the model's of %v", name, got.Rect, want.Images[0].Rect)
		}
		if ignored := strings.Join(a.info.Ignored, " "); ignored != "" {
			t.Errorf("%s: ignored %s", name, ignored)
		}
	}
}
