package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// inversion is an embedding for the fakes' models.
func inversion(name string, l, g int) sdxl.TextualInversion {
	return sdxl.TextualInversion{
		Name: name, L: &sdxl.Tensor{Shape: []int{1, l}, Data: make([]float32, l)}, G: &sdxl.Tensor{Shape: []int{1, g}, Data: make([]float32, g)},
	}
}

// What the server has for every request is in those that say nothing else.
func TestDefaults(t *testing.T) {
	list := []sdxl.TextualInversion{inversion("cat", 32, 48), inversion("dog", 32, 48)}
	b := loadedBench(t, func(c *Config) { c.TextualInversions, c.PromptStyle, c.Preset = list, prompt.A1111, "lcm" })
	var got engine.Job
	take := func(j engine.Job) { got = j }
	b.base.take, b.refiner.take = take, take
	source := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	steps := stepsOf(t, "lcm")
	for _, c := range []struct {
		path, body     string
		style          prompt.Style
		preset         string
		steps          int
		resolved       prompt.Style // that the answer names
		resolvedPreset string
	}{
		{"/generate", `{"prompt":"a"}`, prompt.A1111, "lcm", steps, prompt.A1111, "lcm"},
		{"/generate", `{"prompt":"a","prompt_style":null,"preset":null,"emphasis":"nonorm"}`, prompt.A1111, "lcm", steps, prompt.A1111, "lcm"},
		{"/generate", `{"prompt":"a","prompt_style":"plain","preset":"none","num_inference_steps":7}`, prompt.Plain, "none", 7, "", ""},
		{"/generate", `{"prompt":"a","prompt_style":"comfy","preset":"tcd"}`, prompt.Comfy, "tcd", stepsOf(t, "tcd"), prompt.Comfy, "tcd"},
		{"/refine", `{"prompt":"a","id":"` + source + `"}`, prompt.A1111, "", 20, prompt.A1111, ""},
		{"/refine", `{"prompt":"a","id":"` + source + `","refiner":false}`, prompt.A1111, "lcm", steps, prompt.A1111, "lcm"},
	} {
		got = engine.Job{}
		if w := b.do("POST", c.path, c.body); w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", c.body, w.Code, w.Body)
			continue
		}
		r, p := got.Request, got.Parameters
		if r.PromptStyle != c.style || r.Preset != c.preset || p.Steps != c.steps || p.PromptStyle != c.resolved || p.Preset != c.resolvedPreset {
			t.Errorf("%s %s: %q, %q, %d steps, resolved to %q, %q; want %+v", c.path, c.body, r.PromptStyle, r.Preset, p.Steps, p.PromptStyle, p.Preset, c)
		}
		if diff := cmp.Diff(list, r.TextualInversions); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.body, diff)
		}
		if diff := cmp.Diff([]string{"cat", "dog"}, p.TextualInversions); diff != "" {
			t.Errorf("%s: parameters (-want +got):\n%s", c.body, diff)
		}
	}
}

// stepsOf is the steps of a preset.
func stepsOf(t *testing.T, name string) int {
	t.Helper()
	for _, p := range sdxl.Presets() {
		if p.Name == name {
			return p.Steps
		}
	}
	t.Fatalf("there is no preset %s", name)
	return 0
}

// What no request could be run with is refused before there is one.
func TestBadDefaults(t *testing.T) {
	for _, c := range []struct {
		change func(*Config)
		says   string
	}{
		{func(c *Config) { c.TextualInversions = []sdxl.TextualInversion{inversion("cat", 33, 48)} }, `server: TextualInversions: the base: textual_inversions is "cat" with [1 33]`},
		{func(c *Config) {
			c.TextualInversions = []sdxl.TextualInversion{{Name: "cat", G: inversion("", 1, 48).G}}
		}, "text_encoder (clip_l)"},
		{func(c *Config) {
			c.TextualInversions = []sdxl.TextualInversion{inversion("cat", 32, 48), inversion("cat", 32, 48)}
		}, `two named "cat"`},
		{func(c *Config) { c.PromptStyle = "fancy" }, `server: PromptStyle: the base: prompt_style is "fancy"`},
		{func(c *Config) { c.Preset = "fast" }, `server: Preset: the base: preset is "fast"`},
	} {
		config := Config{
			Specs: engine.Specs{Base: fakeBase(t), Refiner: fakeRefiner(t)}, Images: filepath.Join(t.TempDir(), "images"), Journal: "unused",
			Load: func(int) (engine.Engine, error) { return nil, errors.New("unused") },
		}
		c.change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, want %q", err, c.says)
		}
	}
}

// An adapter that a device can't use is the request's fault, and the answer has its name, not where the server keeps it.
func TestBrokenLoRA(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "styles", "worn.safetensors")
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	b := loadedBench(t, func(c *Config) { c.LoRADir = dir + "/./" })
	b.base.run = func(_ context.Context, r sdxl.Request) error {
		if len(r.LoRAs) != 1 || r.LoRAs[0].Path != file {
			t.Errorf("adapters %v, want %s", r.LoRAs, file)
		}
		return fmt.Errorf("run: %w", &sdxl.RequestError{Field: "loras", Value: r.LoRAs[0].Path, Allowed: "a file with an adapter", Err: fmt.Errorf("%s: truncated", r.LoRAs[0].Path)})
	}
	w := b.do("POST", "/generate", `{"prompt":"a","loras":["worn"]}`)
	const want = `{"detail":[{"type":"value_error","loc":["body","loras"],"msg":"Value error, must be a file with an adapter: styles/worn.safetensors: truncated","input":"styles/worn.safetensors"}]}`
	if w.Code != http.StatusUnprocessableEntity || w.Body.String() != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b.base.run = nil
	id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
}
