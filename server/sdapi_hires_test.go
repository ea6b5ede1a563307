package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// The second pass is what A1111's fields say, and the infotext and the info say it too.
func TestSDHires(t *testing.T) {
	b := sdBench(t, nil)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	const request = `"prompt":"p","negative_prompt":"n","steps":4,"seed":3,"width":64,"height":128,"sampler_name":"DPM++ 2M","scheduler":"Karras"`
	for _, c := range []struct {
		fields, infotext string
		want             sdxl.Hires
		size             sdxl.Size
	}{
		{`"enable_hr":true`, "Hires upscale: 2, Hires steps: 4, Hires upscaler: Latent", sdxl.Hires{Scale: 2, Strength: 0.75, Upscaler: "latent"}, sdxl.Size{Height: 128, Width: 64}},
		{`"enable_hr":true,"hr_scale":1.5,"hr_upscaler":"Latent (nearest-exact)","hr_second_pass_steps":7,"denoising_strength":0.5,"hr_prompt":"p","hr_negative_prompt":"n",
			"hr_sampler_name":"Use same sampler","hr_scheduler":"Use same scheduler","hr_checkpoint_name":"Use same checkpoint"`,
			"Hires upscale: 1.5, Hires steps: 7, Hires upscaler: Latent (nearest-exact)",
			sdxl.Hires{Scale: 1.5, Steps: 7, Strength: 0.5, Upscaler: "latent (nearest-exact)"}, sdxl.Size{Height: 128, Width: 64}},
		{`"enable_hr":true,"hr_resize_x":96,"hr_upscaler":"None","hr_checkpoint_name":"fake-base"`, "Hires resize: 96x192, Hires steps: 4, Hires upscaler: Lanczos",
			sdxl.Hires{Width: 96, Strength: 0.75, Upscaler: "lanczos"}, sdxl.Size{Height: 128, Width: 64}},
		{`"enable_hr":true,"hr_resize_x":96,"hr_resize_y":96,"hr_upscaler":"Nearest","hr_prompt":"q, (r:1.2)","hr_negative_prompt":"m","hr_sampler_name":"Euler a"`,
			`Hires sampler: Euler a, Hires schedule type: Karras, Hires prompt: "q, (r:1.2)", Hires negative prompt: m, Hires resize: 96x96, Hires steps: 4, Hires upscaler: Nearest`,
			sdxl.Hires{Width: 96, Height: 96, Strength: 0.75, Upscaler: "nearest", Prompt: "q, (r:1.2)", NegativePrompt: new("m"), Scheduler: "k_euler_a_karras"}, sdxl.Size{Height: 128, Width: 64}},
		{`"enable_hr":true,"firstphase_width":32,"firstphase_height":48,"hr_scheduler":"Exponential"`,
			"Hires sampler: DPM++ 2M, Hires schedule type: Exponential, Hires upscale: 2, Hires steps: 4, Hires upscaler: Latent",
			sdxl.Hires{Scale: 2, Strength: 0.75, Upscaler: "latent", Scheduler: "k_dpmpp_2m_exponential"}, sdxl.Size{Height: 48, Width: 32}},
	} {
		a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{`+request+`,`+c.fields+`}`))
		r := got.Request
		if r.Hires == nil {
			t.Fatalf("%s: no second pass", c.fields)
		}
		if diff := cmp.Diff(c.want, *r.Hires); diff != "" || r.Width != c.size.Width || r.Height != c.size.Height {
			t.Errorf("%s: %d×%d, -want +got:\n%s", c.fields, r.Width, r.Height, diff)
		}
		if text := a.info.Infotexts[0]; !strings.Contains(text, ", RNG: CPU, "+c.infotext+", Version") || !strings.Contains(text, "Denoising strength: ") {
			t.Errorf("%s: %s, want %s", c.fields, text, c.infotext)
		}
		if a.info.DenoisingStrength == nil || *a.info.DenoisingStrength != c.want.Strength || a.info.Extra["Hires upscaler"] == nil || a.info.Width != c.size.Width {
			t.Errorf("%s: %+v", c.fields, a.info)
		}
		if len(a.info.Ignored) != 0 {
			t.Errorf("%s: ignored %q", c.fields, a.info.Ignored)
		}
		// The infotext makes the same again.
		first := got
		again := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"infotext":`+quote(a.info.Infotexts[0])+`}`))
		want := *first.Request.Hires
		want.Steps, want.Width, want.Height = first.Parameters.Hires.Steps, got.Request.Hires.Width, got.Request.Hires.Height // which the infotext always says
		if want.Scale == 0 && (want.Width != first.Parameters.Hires.Width || want.Height != first.Parameters.Hires.Height) {
			t.Errorf("%s: again of %d×%d", c.fields, want.Width, want.Height)
		}
		if diff := cmp.Diff(want, *got.Request.Hires); diff != "" || again.info.Infotexts[0] != a.info.Infotexts[0] {
			t.Errorf("%s: again %s, -want +got:\n%s", c.fields, again.info.Infotexts[0], diff)
		}
	}
}

// Without enable_hr the fields of the second pass mean nothing, but the first pass's size.
func TestSDNoHires(t *testing.T) {
	b := sdBench(t, nil)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	a := decodeSD(t, b.do("POST", "/sdapi/v1/txt2img", `{"steps":2,"hr_upscaler":"nope","hr_prompt":"x","hr_scale":3,"firstphase_width":64,"firstphase_height":72}`))
	if r := got.Request; r.Hires != nil || r.Width != 64 || r.Height != 72 || a.info.DenoisingStrength != nil || a.info.Width != 64 {
		t.Errorf("%+v, %+v", r, a.info)
	}
}

// The infotext of an image that was inpainted says how, and the fields that a request gives count before it.
func TestSDMaskInfotext(t *testing.T) {
	b := sdBench(t, nil)
	var got engine.Job
	b.base.take = func(j engine.Job) { got = j }
	const text = "p\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x64, Denoising strength: 0.5, Mask blur: 9, Masked content: latent noise, " +
		"Inpaint area: Only masked, Masked area padding: 8, Mask mode: Inpaint not masked, Hires upscale: 2, Version: v"
	body := `{"init_images":["` + sdPNG(t, 64, 64) + `"],"mask":"` + leftWhite(t, 64, 64) + `","infotext":` + quote(text)
	a := decodeSD(t, b.do("POST", "/sdapi/v1/img2img", body+`,"mask_blur":2}`))
	if r := got.Request; r.MaskBlur != 2 || r.InpaintFill != sdxl.FillNoise || or(r.MaskPadding, -1) != 8 || !r.MaskInvert || r.Strength != 0.5 {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(a.info.Ignored, []string{"infotext.Hires upscale"}) {
		t.Errorf("ignored %q", a.info.Ignored)
	}
	// What A1111's parser takes for granted.
	const plain = "p\nSteps: 4, Sampler: Euler, CFG scale: 7, Seed: 3, Size: 64x64, Denoising strength: 0.5"
	decodeSD(t, b.do("POST", "/sdapi/v1/img2img", strings.Replace(body, quote(text), quote(plain), 1)+`}`))
	if r := got.Request; r.MaskBlur != 4 || r.InpaintFill != sdxl.FillOriginal || r.MaskPadding != nil || r.MaskInvert {
		t.Errorf("%+v", r)
	}
	var info struct{ Parameters map[string]any }
	w := b.do("POST", "/sdapi/v1/png-info", `{"image":"`+a.Images[0]+`"}`)
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"Mask blur": "2", "Masked content": "latent noise", "Inpaint area": "Only masked", "Masked area padding": "8", "Mask mode": "Inpaint not masked", "Denoising strength": "0.5",
	} {
		if info.Parameters[key] != want {
			t.Errorf("%s: %v, want %v", key, info.Parameters[key], want)
		}
	}
}
