//go:build !nodemo

package sdxl

import (
	"context"
	"image"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/demo"
)

// openDemoRefiner opens the embedded refiner beside its base.
func openDemoRefiner(t *testing.T, base *Model) *Model {
	t.Helper()
	p, err := refinerOfFS(t, base, demo.Refiner(), "demo")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// demoRefined is image-to-image by the refiner's own defaults.
func demoRefined(t *testing.T, refiner *Model, prompt string, img image.Image, change func(*Request)) *image.NRGBA {
	t.Helper()
	r := Request{Prompt: prompt}
	r.Seed, r.Image = new(uint64(2)), img
	if change != nil {
		change(&r)
	}
	result, err := refiner.Generate(context.Background(), r)
	if err != nil {
		t.Fatalf("%q: %v", prompt, err)
	}
	return result.Images[0]
}

// TestDemoRefines is image-to-image by the refiner: it stays the same scene, a seed repeats itself, and all that a request says counts.
func TestDemoRefines(t *testing.T) {
	base := openDemo(t, cpuDevice(t), kernels.F32)
	refiner := openDemoRefiner(t, base)
	if base.TextEncoder2 != refiner.TextEncoder2 || base.VAE != refiner.VAE {
		t.Error("the refiner does not share the base's encoder and VAE")
	}
	const prompt = "a cat on a blue background"
	r := Request{Prompt: prompt}
	r.Seed = new(uint64(1))
	drawn, err := base.Generate(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	refine := func(img image.Image, change func(*Request)) *image.NRGBA {
		return demoRefined(t, refiner, prompt, img, func(r *Request) {
			r.Guidance = new(2.0) // with 1, its own, nothing negative counts
			if change != nil {
				change(r)
			}
		})
	}
	plain := refine(drawn.Images[0], nil)
	// 20 dB is a root mean square error of 25 levels: the same scene stays above it.
	if d := psnr(plain, drawn.Images[0]); !(d > 20 && d < 60) {
		t.Errorf("refined: %.1f dB to what it began with, want the same scene", d)
	} else {
		t.Logf("refined: %.1f dB to what it began with", d)
	}
	few := demoImage(t, base, prompt, nil).Images[0] // its few pixels show as well whether something counts
	plain = refine(few, nil)
	if !slices.Equal(refine(few, nil).Pix, plain.Pix) {
		t.Error("the same seed gives another image")
	}
	negative := "blurry"
	for what, change := range map[string]func(*Request){
		"seed":                     func(r *Request) { r.Seed = new(uint64(3)) },
		"prompt":                   func(r *Request) { r.Prompt = "a dog on a blue background" },
		"negative prompt":          func(r *Request) { r.NegativePrompt = &negative },
		"strength":                 func(r *Request) { r.Strength = 0.3 },
		"aesthetic score":          func(r *Request) { r.AestheticScore = new(2.0) },
		"negative aesthetic score": func(r *Request) { r.NegativeAestheticScore = new(6.0) },
	} {
		if slices.Equal(refine(few, change).Pix, plain.Pix) {
			t.Errorf("another %s gives the same image", what)
		}
	}
}

// TestForeignRefiner puts refiners beside bases that they do not belong to.
func TestForeignRefiner(t *testing.T) {
	dev := cpuDevice(t)
	base := openDemo(t, dev, kernels.F32)
	tiny, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer tiny.Close()
	for name, c := range map[string]struct {
		open func() (*Model, error)
		want []string
	}{
		"the demo's beside another base": {func() (*Model, error) { return refinerOfFS(t, tiny, demo.Refiner(), "demo") },
			[]string{"model demo: ", "does not belong to the base synth:tiny", "states of 48 values, the UNet's cross_attention_dim is 128"}},
		"another beside the demo": {func() (*Model, error) { return refinerOf(t, base, "synth:tiny-refiner") },
			[]string{"model synth:tiny-refiner: ", "does not belong to the base demo", "scaled by 0.13025", "scaled by 1"}},
		"a base": {func() (*Model, error) { return refinerOfFS(t, base, demo.Base(), "base") }, []string{"model base: the model is a base"}},
	} {
		p, err := c.open()
		if err == nil {
			t.Errorf("%s: opened", name)
			p.Close()
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q, want %q in it", name, err, want)
			}
		}
	}
}
