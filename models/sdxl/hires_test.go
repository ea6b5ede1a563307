package sdxl

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

const esrganFiles = "../esrgan/testdata/"

// TestLatentModes compares every latent upscaler with torch's interpolate, up and down.
func TestLatentModes(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/hires.safetensors")
	data, shape := g.Floats("x")
	x := &Tensor{Shape: shape, Data: data}
	for name, mode := range latentModes {
		for _, way := range []string{" up", " down"} {
			want, size := g.Floats(name + way)
			got := mode.resize(x, size[2], size[3])
			if !reflect.DeepEqual(got.Shape, size) {
				t.Fatalf("%s: shape %v, want %v", name+way, got.Shape, size)
			}
			golden.Near(t, name+way, got.Data, want, 1e-6)
		}
	}
}

// TestHires compares both passes with diffusers', by every kind of upscaler.
func TestHires(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/hires.safetensors")
	var cases []struct {
		Name, Upscaler, Scheduler string
		Scale, Strength           float64
		Kept                      []int
		Steps, N                  int
		HiresSteps                int `json:"hires_steps"`
	}
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	m := newModels(t).open("tiny")
	for _, c := range cases {
		r := Request{Prompt: g.Metadata["prompt"], LatentsOnly: true}
		r.Width, r.Height, r.Steps, r.Seed, r.Scheduler, r.ImagesPerPrompt = 40, 32, c.Steps, new(uint64(11)), c.Scheduler, max(c.N, 1)
		r.Hires = &Hires{Scale: c.Scale, Steps: c.HiresSteps, Strength: c.Strength, Upscaler: c.Upscaler}
		if c.Scale == 0 {
			r.Hires.Width, r.Hires.Height = c.Kept[0], c.Kept[1]
		}
		if strings.HasSuffix(c.Upscaler, ".pth") {
			r.Hires.Upscaler = esrganFiles + c.Upscaler
		}
		last := Progress{}
		var steps []int
		r.Progress = func(p Progress) { last = p }
		r.OnStep = func(step int, _ *Tensor) error { steps = append(steps, step); return nil }
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		want, _ := g.Floats(c.Name)
		golden.Near(t, c.Name, result.Latents.Data, want, 5e-5)
		all := c.Steps + c.HiresSteps
		if last.Step != all || last.Steps != all || len(steps) != all || steps[all-1] != all || result.Steps != all {
			t.Errorf("%s: progress ends at %+v, OnStep at %v, %d steps; want %d", c.Name, last, steps, result.Steps, all)
		}
		p := HiresParameters{Scale: c.Scale, Width: c.Kept[0], Height: c.Kept[1], Steps: c.HiresSteps, Strength: c.Strength, Upscaler: c.Upscaler}
		if got := result.Parameters; got.Hires == nil || *got.Hires != p || got.Width != 40 || got.Height != 32 || got.Task != TextToImage || got.Steps != c.Steps {
			t.Errorf("%s: parameters %v with %+v, want %+v", c.Name, got, got.Hires, p)
		}
		resolved, err := m.Spec().Resolve(r)
		if err != nil || !reflect.DeepEqual(resolved.Hires, result.Parameters.Hires) {
			t.Errorf("%s: Resolve gives %+v, %v", c.Name, resolved.Hires, err)
		}
	}
}

// TestHiresStops: a first pass that is stopped is the result, and images are those of the size reached; a second pass
// that is stopped says so. An upscaler's file that is replaced is opened anew.
func TestHiresStops(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	file := filepath.Join(t.TempDir(), "u.pth")
	for i, at := range []int{2, 5, 0} {
		data, err := os.ReadFile(esrganFiles + []string{"compact4.pth", "bsrgan.pth", "old.pth"}[i])
		if err == nil {
			err = os.WriteFile(file, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		r := small()
		r.Hires = &Hires{Upscaler: file, Steps: 3}
		computed := 0
		r.OnComputed = func() { computed++ }
		r.OnStep = func(step int, _ *Tensor) error {
			if step == at {
				return ErrInterrupt
			}
			return nil
		}
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		width, interrupted := 96, at > 0
		if at == 2 {
			width = 48
		}
		if got := result.Images[0].Rect.Dx(); got != width || interrupted != (result.Parameters.Interrupted != nil) || computed != 1 {
			t.Errorf("stopped at %d: %d pixels wide, interrupted %v, computed %d times", at, got, result.Parameters.Interrupted, computed)
		}
		if at == 0 && m.host.upscaler.Config.Scale() != 4 {
			t.Errorf("a file that was replaced is %+v", m.host.upscaler.Config)
		}
	}
}

// TestHiresRefuses: what can't be done is an error of the field.
func TestHiresRefuses(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for want, change := range map[string]func(*Request){
		"hires.strength":  func(r *Request) { r.Hires.Strength = 1.5 },
		"hires.steps":     func(r *Request) { r.Hires.Steps = -1 },
		"hires.scale":     func(r *Request) { r.Hires.Scale = math.NaN() },
		"hires.width":     func(r *Request) { r.Hires.Width = 100 },
		"hires.height":    func(r *Request) { r.Hires.Height = -8 },
		"hires.upscaler":  func(r *Request) { r.Hires.Upscaler = "none.pth" },
		"an image":        func(r *Request) { r.Image, r.Width, r.Height = gradient(48, 40), 0, 0 },
		"denoising_end":   func(r *Request) { r.DenoisingEnd = 0.5 },
		"custom sigmas":   func(r *Request) { r.Sigmas = []float64{3, 1, 0} },
		"at least":        func(r *Request) { r.Hires.Steps, r.Hires.Strength = 900, 0.1 },
		"a width or":      func(r *Request) { r.Hires.Scale, r.Hires.Width = 2, 96 },
		"which gives 376": func(r *Request) { r.Width, r.Height, r.Hires.Scale = 48, 8192, 7.9 },
	} {
		r := small()
		r.Hires = &Hires{}
		change(&r)
		_, err := m.Generate(t.Context(), r)
		var bad *RequestError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want a RequestError that has %q", err, want)
		}
	}
	r := small()
	r.Hires = &Hires{}
	if _, err := m.Start(t.Context(), r); err == nil || !strings.Contains(err.Error(), "hires") {
		t.Errorf("Start gives %v", err)
	}
	if _, err := Ensemble(t.Context(), r, Expert{Model: m, DenoisingEnd: 0.5}, Expert{Model: m}); err == nil || !strings.Contains(err.Error(), "hires") {
		t.Errorf("Ensemble gives %v", err)
	}
}

// TestHiresInBatch: a batch computes such a request by itself, and the others as they are alone.
func TestHiresInBatch(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	plain, two := small(), small()
	plain.LatentsOnly, two.LatentsOnly, two.Hires = true, true, &Hires{Steps: 2}
	requests := []Request{plain, two, plain}
	got := make([]*Result, len(requests))
	var batch []BatchRequest
	for i, r := range requests {
		batch = append(batch, BatchRequest{Context: t.Context(), Request: r, Done: func(result *Result, err error) {
			if err != nil {
				t.Error(err)
			}
			got[i] = result
		}})
	}
	m.GenerateBatch(batch)
	for i, r := range requests {
		want, err := m.Generate(t.Context(), r)
		if err != nil || got[i] == nil {
			t.Fatal(i, err)
		}
		golden.Near(t, "request", got[i].Latents.Data, want.Latents.Data, 1e-5)
	}
}
