package process

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights/lora"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// Jobs and results arrive as they were: what pointers point to, and that they point to nothing.
func TestJobs(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	if !reflect.DeepEqual(e.Device(), device) || e.DeviceName() != device.Name || !reflect.DeepEqual(e.Costs(), (&fake{}).Costs()) {
		t.Errorf("%+v, costs %+v", e.Device(), e.Costs())
	}
	latents := &sdxl.Tensor{Shape: []int{1, 1, 1, 3}, Data: []float32{float32(math.Inf(1)), -0.5, float32(math.NaN())}}
	computed := 0
	j := ask("computed")
	j.Request.OnComputed = func() {
		computed++
		if e.Lost() != nil { // which the server asks then
			t.Error(e.Lost())
		}
	}
	if _, err := e.Generate(t.Context(), j); err != nil || computed != 1 {
		t.Errorf("OnComputed was called %d times: %v", computed, err)
	}
	if _, err := e.Generate(t.Context(), ask("computed")); err != nil {
		t.Errorf("without OnComputed: %v", err)
	}
	for _, j := range []engine.Job{
		ask("a \u2028 <cat>"),
		{Name: "other", Model: engine.Ensemble, DenoisingEnd: 0.8, Parameters: sdxl.Parameters{Task: sdxl.TextToImage, Width: 512, Prompts: []sdxl.Prompt{{NegativePrompt: new("")}}}},
		{Model: engine.Refiner, Request: sdxl.Request{
			NegativePrompt: new(""), NegativePrompt2: new("blur"), Width: 512, Seed: new(uint64(math.MaxUint64)), Guidance: new(0.0), AestheticScore: new(0.0), Watermark: true,
			Sigmas: []float64{14.6, 0.1}, GuidancePerStep: []float64{1. / 3}, Seeds: []uint64{1 << 60, 0}, Prompts: []sdxl.Prompt{{Prompt: "a", NegativePrompt: new("")}, {}},
			OriginalSize: sdxl.Size{Height: 3, Width: 4}, NegativeCropTop: -1, Eta: new(1e-300), Latents: latents, ImageLatents: latents,
			PromptStyle: prompt.A1111, Emphasis: sdxl.EmphasisNoNorm, Preset: "lcm",
			LoRAs: []sdxl.LoRA{{Path: "b", Strengths: lora.Strength(-0.25)}, {Path: "a", Strengths: lora.Strength(1. / 3)}},
			TextualInversions: []sdxl.TextualInversion{
				{Name: "two", L: &sdxl.Tensor{Shape: []int{2, 1}, Data: []float32{1. / 3, -0.5}}, G: &sdxl.Tensor{Shape: []int{1, 3}, Data: []float32{1, 2, 1e-40}}},
				{Name: "<g>", G: &sdxl.Tensor{Shape: []int{1, 1}, Data: []float32{7}}},
			},
		}},
	} {
		got, err := e.Generate(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		if got.Warnings[0] != describe(j) || got.Steps != 50 || !reflect.DeepEqual(got.Parameters, j.Parameters) {
			t.Errorf("%+v, want\n%s", got, describe(j))
		}
		if (got.Latents == nil) != (j.Request.Latents == nil) || got.Latents != nil && fmt.Sprint(*got.Latents) != fmt.Sprint(*latents) {
			t.Errorf("latents %v, want %v", got.Latents, j.Request.Latents)
		}
	}
	for name, j := range map[string]engine.Job{
		"Taps":       {Request: sdxl.Request{Taps: sdxl.Taps{VAE: []nn.Tap{{}}}}},
		"OnStep":     {Request: sdxl.Request{OnStep: func(int, *sdxl.Tensor) error { return nil }}},
		"Embeddings": {Request: sdxl.Request{Embeddings: &sdxl.Embeddings{}}},

		"mask":                     {Request: sdxl.Request{Mask: sdxl.Blank{}}},
		"ip_adapters[0].images[1]": {Request: sdxl.Request{IPAdapters: []sdxl.IPAdapter{{Images: []image.Image{image.NewGray(image.Rectangle{}), nil}}}}},

		"NaN": {Request: sdxl.Request{Guidance: new(math.NaN())}},
	} {
		if _, err := e.Generate(t.Context(), j); err == nil || !strings.Contains(err.Error(), name) || e.Lost() != nil {
			t.Errorf("a request with %s: %v, lost: %v", name, err, e.Lost())
		}
	}
}

// Pixels arrive as they were, whatever a PNG can be decoded to.
func TestPixels(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	size := image.Rect(0, 0, 3, 2)
	palette := color.Palette{color.RGBA{1, 2, 3, 255}, color.NRGBA{9, 9, 9, 40}}
	for _, img := range []interface {
		image.Image
		Set(x, y int, c color.Color)
	}{
		image.NewNRGBA(size), image.NewGray(size), image.NewGray16(size), image.NewRGBA(size), image.NewRGBA64(size), image.NewNRGBA64(size), image.NewPaletted(size, palette),
		image.NewNRGBA(image.Rect(0, 0, 9, 7)).SubImage(image.Rect(2, 3, 8, 7)).(*image.NRGBA),
	} {
		b := img.Bounds()
		img.Set(b.Min.X+1, b.Min.Y+1, color.NRGBA{9, 9, 9, 40})
		img.Set(b.Max.X-1, b.Max.Y-1, color.NRGBA{200, 100, 50, 255})
		j := engine.Job{Model: engine.Refiner, Request: sdxl.Request{Image: img}}
		want, _ := (&fake{}).Generate(t.Context(), j)
		got, err := e.Generate(t.Context(), j)
		if err != nil || !reflect.DeepEqual(got.Images, want.Images) {
			t.Errorf("%T: %v, %v", img, got, err)
		}
	}
	_, err := e.Generate(t.Context(), engine.Job{Request: sdxl.Request{Image: image.NewAlpha(size)}})
	if err == nil || !strings.Contains(err.Error(), "*image.Alpha") {
		t.Errorf("an image of another type: %v", err)
	}
}

// Errors arrive with the types that the server distinguishes.
func TestErrors(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	fails := func(prompt string) error {
		t.Helper()
		_, err := e.Generate(t.Context(), ask(prompt))
		if err == nil || e.Lost() != nil {
			t.Fatalf("%s: %v, lost: %v", prompt, err, e.Lost())
		}
		return err
	}
	var field *sdxl.RequestError
	if err := fails("field"); !errors.As(err, &field) || field.Error() != "guidance_scale is NaN: must be a finite number: it is not" {
		t.Errorf("%v", err)
	}
	if err := fails("number"); !errors.As(err, &field) || field.Error() != "seed is 18446744073709551615: must be smaller" {
		t.Errorf("%v", err)
	}
	if err := fails("odd field"); !errors.As(err, &field) || field.Value != "{1 2}" {
		t.Errorf("%v", err)
	}
	if err := fails("fail"); err.Error() != "only this one" {
		t.Errorf("%v", err)
	}
	if err := fails("nothing"); err.Error() != "process: the program's answer has neither a result nor an error" {
		t.Errorf("%v", err)
	}
	if err := fails("odd result"); !strings.Contains(err.Error(), "can't be sent") {
		t.Errorf("%v", err)
	}
	var sizes *kernels.MemoryError
	if err := fails("large"); !errors.Is(err, kernels.ErrMemory) || err.Error() != "step: kernels: out of device memory: 9000.0 MiB needed" || errors.As(err, &sizes) {
		t.Errorf("%v with %v", err, sizes)
	}
	var load *engine.LoadError
	if err := fails("unloadable"); !errors.As(err, &load) || load.Model != "b" || err.Error() != "the model b can't be loaded: unet: no such file" || errors.Is(err, kernels.ErrMemory) {
		t.Errorf("%v", err)
	}
	if err := fails("too large to load"); !errors.As(err, &load) || load.Model != "b" || !errors.Is(err, kernels.ErrMemory) {
		t.Errorf("%v", err)
	}
	if err := fails("limited"); !errors.Is(err, kernels.ErrMemory) || !errors.As(err, &sizes) ||
		*sizes != (kernels.MemoryError{Needed: 9 << 30, Allowed: 8 << 30}) || err.Error() != "unet: "+sizes.Error() {
		t.Errorf("%v with %+v", err, sizes)
	}
}
