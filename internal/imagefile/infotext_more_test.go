package imagefile

import (
	"strings"
	"testing"

	"github.com/goxl/goxl/models/sdxl"
)

// What A1111 and its extension sd-webui-controlnet say of masks, second passes and units, and what is read of it again.
func TestInfotextOfImages(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *sdxl.Parameters)
		want   string // behind the model
		values map[string]string
	}{
		"mask": {func(p *sdxl.Parameters) {
			p.Task, p.Strength, p.MaskBlur, p.InpaintFill, p.MaskPadding, p.MaskInvert = sdxl.Inpaint, 0.75, 4, sdxl.FillBlur, new(32), true
		}, "Denoising strength: 0.75, Mask blur: 4, Masked content: fill, Inpaint area: Only masked, Masked area padding: 32, Mask mode: Inpaint not masked, RNG: CPU",
			map[string]string{"Mask blur": "4", "Masked content": "fill", "Inpaint area": "Only masked", "Masked area padding": "32", "Mask mode": "Inpaint not masked"}},
		"whole mask": {func(p *sdxl.Parameters) { p.Task, p.Strength, p.InpaintFill = sdxl.Inpaint, 1, sdxl.FillNothing },
			"Denoising strength: 1, Masked content: latent nothing, RNG: CPU", nil},
		"second pass": {func(p *sdxl.Parameters) {
			p.Task, p.Hires = sdxl.TextToImage, &sdxl.HiresParameters{
				Scale: 1.5, Steps: 9, Strength: 0.5, Upscaler: "latent (bicubic)", Prompt: "a, b", NegativePrompt: new("c"), Scheduler: "k_euler_a_karras",
			}
		}, `Denoising strength: 0.5, RNG: CPU, Hires sampler: Euler a, Hires schedule type: Karras, Hires prompt: "a, b", Hires negative prompt: c, ` +
			"Hires upscale: 1.5, Hires steps: 9, Hires upscaler: Latent (bicubic)",
			map[string]string{"Hires prompt": "a, b", "Hires upscale": "1.5", "Hires upscaler": "Latent (bicubic)", "Hires sampler": "Euler a", "Hires schedule type": "Karras"}},
		"second size": {func(p *sdxl.Parameters) {
			p.Task, p.Hires = sdxl.TextToImage, &sdxl.HiresParameters{Width: 96, Height: 64, Steps: 9, Strength: 0.5, Upscaler: "4x_model.pth"}
		}, "Denoising strength: 0.5, RNG: CPU, Hires resize: 96x64, Hires steps: 9, Hires upscaler: 4x_model", map[string]string{"Hires resize-1": "96", "Hires resize-2": "64"}},
		"units": {func(p *sdxl.Parameters) {
			p.Controls = []sdxl.ControlParameters{
				{Name: "canny", Scale: 0.5, Start: 0.25, End: 1, Preprocessor: "canny:50:150", Resize: sdxl.ResizeFill},
				{Name: "depth, a", Scale: 1, End: 0.5, GuessMode: true},
			}
			p.T2IAdapters = []sdxl.T2IAdapterParameters{{Name: "sketch", Scale: 0.75, Resize: sdxl.ResizeCrop}}
			p.IPAdapters = []sdxl.IPAdapterParameters{{Name: "ip", Scale: 0.6, Images: 1}}
		}, `ControlNet 0: "Module: canny, Model: canny, Weight: 0.5, Resize Mode: Resize and Fill, Threshold A: 50, Threshold B: 150, Guidance Start: 0.25, Guidance End: 1, Pixel Perfect: True, Control Mode: Balanced", ` +
			`ControlNet 1: "Module: none, Model: depth a, Weight: 1, Resize Mode: Just Resize, Guidance Start: 0, Guidance End: 0.5, Pixel Perfect: True, Control Mode: ControlNet is more important", ` +
			`ControlNet 2: "Module: none, Model: sketch, Weight: 0.75, Resize Mode: Crop and Resize", ControlNet 3: "Module: ip-adapter-auto, Model: ip, Weight: 0.6", RNG: CPU`,
			map[string]string{"ControlNet 3": "Module: ip-adapter-auto, Model: ip, Weight: 0.6"}},
	} {
		p := sdxl.Parameters{Steps: 1, Scheduler: "euler", Width: 8, Height: 8, Model: "m"}
		c.change(&p)
		text := (Parameters{Parameters: p, Version: "v"}).Infotext()
		if want := "Size: 8x8, Model: m, " + c.want + ", Version: goxl v"; !strings.HasSuffix(text, want) {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
		values := ParseInfotext("p\n" + text)
		for key, want := range c.values {
			if values[key] != want {
				t.Errorf("%s: %s is %q, want %q", name, key, values[key], want)
			}
		}
	}
}
