package sdxl

import (
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/scheduler"
)

const testdata = "../../testdata"

// goldenCase is a call of a diffusers pipeline, as tools/reference/cases.py lists them.
type goldenCase struct {
	Name, Model, Task, Prompt, Scheduler, Noise string
	Prompt2                                     string  `json:"prompt_2"`
	Negative                                    *string `json:"negative"`
	Negative2                                   string  `json:"negative_2"`
	Width, Height, Steps, N                     int
	Guidance, Eta, Strength                     *float64
	GuidanceRescale                             *float64 `json:"guidance_rescale"`
	Seed                                        uint64
	ClipSkip                                    int `json:"clip_skip"`
	Timesteps                                   []float64
	Keys                                        map[string]any // of the scheduler's configuration
	DenoisingEnd                                float64        `json:"denoising_end"`
	DenoisingStart                              float64        `json:"denoising_start"`
	AestheticScore                              *float64       `json:"aesthetic_score"`
	NegativeAestheticScore                      *float64       `json:"negative_aesthetic_score"`
	OriginalSize                                [2]int         `json:"original_size"`
	TargetSize                                  [2]int         `json:"target_size"`
	NegativeOriginalSize                        [2]int         `json:"negative_original_size"`
	NegativeTargetSize                          [2]int         `json:"negative_target_size"`
	Crop                                        [2]int
	NegativeCrop                                [2]int `json:"negative_crop"`
	InputImage                                  string `json:"input_image"`
	InputLatents                                string `json:"input_latents"`
	Watermark                                   bool
	Output                                      struct{ Latents, Image string }
}

// request translates a case; g holds its input tensors.
func (c goldenCase) request(t *testing.T, g *golden.File) Request {
	r := Request{Prompt: c.Prompt}
	r.Prompt2, r.NegativePrompt, r.NegativePrompt2 = c.Prompt2, c.Negative, &c.Negative2
	r.Width, r.Height, r.Seed, r.Scheduler = c.Width, c.Height, &c.Seed, c.Scheduler
	r.GuidanceRescale, r.ClipSkip, r.Timesteps = c.GuidanceRescale, c.ClipSkip, c.Timesteps
	r.DenoisingEnd, r.DenoisingStart = c.DenoisingEnd, c.DenoisingStart
	r.OriginalSize, r.TargetSize = Size{c.OriginalSize[0], c.OriginalSize[1]}, Size{c.TargetSize[0], c.TargetSize[1]}
	r.NegativeOriginalSize = Size{c.NegativeOriginalSize[0], c.NegativeOriginalSize[1]}
	r.NegativeTargetSize = Size{c.NegativeTargetSize[0], c.NegativeTargetSize[1]}
	r.CropTop, r.CropLeft, r.NegativeCropTop, r.NegativeCropLeft = c.Crop[0], c.Crop[1], c.NegativeCrop[0], c.NegativeCrop[1]
	r.Watermark = c.Watermark
	if c.Steps > 0 {
		r.Steps = c.Steps
	}
	if c.N > 0 {
		r.ImagesPerPrompt = c.N
	}
	r.Guidance, r.Eta, r.Strength = c.Guidance, c.Eta, or(c.Strength, 0)
	r.AestheticScore, r.NegativeAestheticScore = c.AestheticScore, c.NegativeAestheticScore
	if c.Noise != "" {
		r.Latents = latentsOf(g.Floats(c.Noise))
	}
	if c.InputLatents != "" {
		r.ImageLatents = latentsOf(g.Floats(c.InputLatents + ".latents"))
	}
	if c.InputImage != "" {
		f, err := os.Open(filepath.Join(testdata, c.InputImage))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if r.Image, err = png.Decode(f); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func latentsOf(data []float32, shape []int) *Tensor {
	return &Tensor{Shape: shape, Data: data}
}

// models opens the tiny models of the goldens once each.
type models struct {
	t      *testing.T
	dev    kernels.Device
	opened map[string]*Model
}

func newModels(t *testing.T) *models {
	dev, err := cpu.New(cpu.Options{Threads: 1}) // models so small take two threads as long as one
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return &models{t, dev, map[string]*Model{}}
}

func (m *models) open(name string) *Model {
	m.t.Helper()
	if p, ok := m.opened[name]; ok {
		return p
	}
	var p *Model
	var err error
	switch name {
	case "tiny":
		p, err = Open(m.t.Context(), "synth:tiny", Options{Host: hostOf(m.dev)})
	case "tiny-refiner":
		p, err = refinerOf(m.t, m.open("tiny"), "synth:tiny-refiner")
	case "tiny-refiner-own":
		p, err = refinerOf(m.t, m.open("tiny"), m.folder(name))
	default:
		p, err = Open(m.t.Context(), m.folder(name), Options{Host: hostOf(m.dev)})
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			m.t.Error(err)
		}
	})
	m.opened[name] = p
	return p
}

// folder writes a configuration under testdata with its synthetic weights.
func (m *models) folder(name string) string {
	m.t.Helper()
	dir := filepath.Join(m.t.TempDir(), name)
	seeds := func(component string) string {
		if name == "tiny-refiner-own" && component == "text_encoder_2" {
			return "alt/" + component
		}
		return component
	}
	if err := synthesise(m.t.Context(), os.DirFS(filepath.Join(testdata, "models", name)), kernels.F32, dir, seeds); err != nil {
		m.t.Fatal(err)
	}
	return dir
}

// TestGoldens compares whole runs with diffusers' pipelines in float32: final latents to 5e-5 of their norm, of which
// diffusers' own rounding takes up to 2.7e-5 in these runs and goxl's 8.2e-6 (against float64), images to one level
// but for a thousandth of the values.
func TestGoldens(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(testdata + "/pipelines.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct{ Cases []goldenCase }
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Cases) < 100 {
		t.Fatalf("%d cases, want the whole table", len(table.Cases))
	}
	g := golden.Open(t, testdata+"/pipelines.safetensors")
	m := newModels(t)
	for _, c := range table.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p := m.open(c.Model)
			r := c.request(t, g)
			r.LatentsOnly = c.Output.Image == ""
			result, err := p.Generate(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			want, shape := g.Floats(c.Output.Latents)
			if got := result.Latents.Shape; fmt.Sprint(got[:]) != fmt.Sprint(shape) {
				t.Fatalf("latents %v, want %v", got, shape)
			}
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if c.Output.Image != "" {
				compareImages(t, result, g, c.Output.Image)
			}
		})
	}
}

// compareImages counts the values that are off by one level or more.
func compareImages(t *testing.T, r *Result, g *golden.File, name string) {
	t.Helper()
	want, shape := g.Bytes(name)
	if len(r.Images) != shape[0] {
		t.Fatalf("%d images, want %d", len(r.Images), shape[0])
	}
	far, off, i := 0, 0, 0
	for _, img := range r.Images {
		if b := img.Bounds(); b.Dx() != shape[2] || b.Dy() != shape[1] {
			t.Fatalf("an image of %v, want %d×%d", b, shape[2], shape[1])
		}
		for k, v := range img.Pix {
			if k%4 == 3 {
				if v != 255 {
					t.Fatal("the image is not opaque")
				}
				continue
			}
			d := int(v) - int(want[i])
			if d != 0 {
				off++
			}
			if d < -1 || d > 1 {
				far++
			}
			i++
		}
	}
	t.Logf("%d of %d values off by one level, %d by more", off-far, i, far)
	if float64(far) > 0.001*float64(i) {
		t.Errorf("%d of %d values are off by more than one level", far, i)
	}
}

// TestGoldensCoverSchedulers makes sure that no sampler of the command line goes unchecked.
func TestGoldensCoverSchedulers(t *testing.T) {
	var tables []byte
	for _, name := range []string{"/pipelines.json", "/samplers.json"} {
		data, err := os.ReadFile(testdata + name)
		if err != nil {
			t.Fatal(err)
		}
		tables = append(tables, data...)
	}
	of := map[string]bool{}
	_, cases := kdiffusionCases(t)
	for _, c := range cases {
		of[c.Scheduler] = true
	}
	for _, name := range scheduler.Names() {
		if !of[name] && !strings.Contains(string(tables), fmt.Sprintf("%q", name)) {
			t.Errorf("no golden for the scheduler %s", name)
		}
	}
}
