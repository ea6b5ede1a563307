package sdxl

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestSamplers compares whole runs with the schedulers and options that pipelines.json does not reach, as TestGoldens
// does.
func TestSamplers(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(testdata + "/samplers.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct{ Cases []goldenCase }
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Cases) < 60 {
		t.Fatalf("%d cases, want the whole table", len(table.Cases))
	}
	g := golden.Open(t, testdata+"/samplers.safetensors")
	m := newModels(t)
	for _, c := range table.Cases {
		t.Run(c.Name, func(t *testing.T) {
			p := m.open(c.Model)
			r := c.request(t, g)
			r.LatentsOnly = true
			if c.Keys != nil {
				own := p.Scheduler
				defer func() { p.Scheduler = own }()
				changed, err := own.As(c.Scheduler)
				if err == nil {
					changed, err = changed.With(c.Keys)
				}
				if err != nil {
					t.Fatal(err)
				}
				p.Scheduler, r.Scheduler = changed, ""
			}
			result, err := p.Generate(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			want, shape := g.Floats(c.Output.Latents)
			if got := result.Latents.Shape; !slices.Equal(got[:], shape) {
				t.Fatalf("latents %v, want %v", got, shape)
			}
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
		})
	}
}

// A schedule on the host gives each image of a batch its own bound, and its own result, whatever the batch.
func TestThresholdGoesByImage(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p := m.open("tiny")
	changed, err := p.Scheduler.As("dpmpp_2m_sde")
	if err == nil {
		changed, err = changed.With(map[string]any{"thresholding": true, "sample_max_value": 2.5, "dynamic_thresholding_ratio": 0.9})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Scheduler = changed
	generate := func(seeds ...uint64) []float32 {
		result, err := p.Generate(t.Context(), Request{Prompt: "p", Width: 48, Height: 48, Steps: 4, Seeds: seeds, ImagesPerPrompt: len(seeds), LatentsOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		return result.Latents.Data
	}
	one, two, both := generate(3), generate(4), generate(3, 4)
	for i, want := range slices.Concat(one, two) {
		if !(math.Abs(float64(both[i]-want)) <= 1e-5*math.Max(1, math.Abs(float64(want)))) {
			t.Fatalf("value %d of the batch is %v, alone %v", i, both[i], want)
		}
	}
}

// The UNet of SDXL predicts no variance.
func TestLearnedVarianceIsRefused(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	p := m.open("tiny")
	changed, err := p.Scheduler.As("ddpm")
	if err == nil {
		changed, err = changed.With(map[string]any{"variance_type": "learned_range"})
	}
	if err != nil {
		t.Fatal(err)
	}
	p.Scheduler = changed
	if _, err := p.Generate(t.Context(), Request{Prompt: "p", Width: 48, Height: 48, Steps: 4}); err == nil || !strings.Contains(err.Error(), "variance_type") {
		t.Errorf("with a learned variance: %v", err)
	}
}
