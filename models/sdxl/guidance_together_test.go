package sdxl

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// everything is a request with guidance on a part of the steps, PAG that fades, FreeU, two ControlNets of which one ends
// early and one is in guess mode, an image prompt, and a negative size, which of three images makes the time ids of all
// sides differ.
func everything(t *testing.T) Request {
	t.Helper()
	g, adapters := openControlGoldens(t), ipFiles(t)
	prompts := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	r := controlled(g, "full")
	r.Controls[0].End = 0.4
	r.Controls = append(r.Controls, Control{Path: g.folder("other"), Image: g.picture("b"), Scale: new(0.7), GuessMode: true})
	r.IPAdapters = []IPAdapter{{
		Path:    filepath.Join(adapters, "sdxl_models", "base.safetensors"),
		Encoder: filepath.Join(adapters, "models", "image_encoder"),
	}}
	r.IPAdapters[0].Images = append(r.IPAdapters[0].Images, promptImage(prompts, "image/a"))
	r.Steps, r.ImagesPerPrompt, r.Seed = 6, 3, new(uint64(3))
	r.NegativeOriginalSize, r.NegativeTargetSize = Size{256, 128}, Size{1024, 900}
	r.GuidanceStart, r.GuidanceEnd, r.PAGScale, r.PAGAdaptiveScale, r.PAGAppliedLayers = 0.2, 0.7, 3, 0.004, []string{"mid", "up_blocks.0"}
	r.FreeU = &FreeU{0.9, 0.2, 1.3, 1.4}
	return r
}

// TestEverythingInTurns: two runs with all of it take turns on the same programs, with predictions in between, and give
// what each gives alone.
func TestEverythingInTurns(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	first := everything(t)
	second := first
	second.Prompt, second.NegativePrompt, second.Seed = "another", new("blurry"), new(uint64(9))
	second.Controls = slices.Clone(first.Controls)
	second.Controls[0].Image, second.Controls[1].Image = first.Controls[1].Image, first.Controls[0].Image
	runs := []*Run{started(t, m, first), started(t, m, second)}
	for i := range first.Steps {
		for k, run := range runs {
			step := run.Schedule().Steps[i]
			other := runs[1-k]
			x, err := other.Latents(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Predict(t.Context(), x, step.Timestep, step.InputScale); err != nil {
				t.Fatal(err)
			}
			if err := run.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for k, r := range []Request{first, second} {
		x, err := runs[k].Latents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if alone := generated(t, m, r); !slices.Equal(x.Data, alone.Latents.Data) {
			t.Errorf("run %d: in turns the latents are %v away", k, moved(x, alone.Latents))
		}
	}
}

// TestEverythingInTwoPasses: the second pass of hires has all of it, and an interval of its own steps.
func TestEverythingInTwoPasses(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := everything(t)
	x := generated(t, m, r).Latents
	two := r
	two.Width, two.Height, two.Steps, two.Strength = 0, 0, 5, 1
	two.ImageLatents = latentModes["latent"].resize(x, 2*x.Shape[2], 2*x.Shape[3])
	want := generated(t, m, two)
	r.Hires = &Hires{Steps: 5, Strength: 1}
	if got := generated(t, m, r); !slices.Equal(got.Latents.Data, want.Latents.Data) {
		t.Errorf("the latents are %v from those of image-to-image", moved(got.Latents, want.Latents))
	}
}

// TestEverythingByTwoBases: two bases share the steps as if each were run by hand with the scales of its own.
func TestEverythingByTwoBases(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	one, two := models.open("tiny"), models.open("tiny")
	r := everything(t)
	result, err := Ensemble(t.Context(), r, Expert{one, 0.5}, Expert{Model: two})
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEnsemble(r, []Expert{{one, 0.5}, {Model: two}})
	if err != nil {
		t.Fatal(err)
	}
	scales, before := []float64{1, 5, 5, 5, 1, 1}, e.before[1]
	if before < 2 || before > 3 { // of the first one, guidance begins; of the second, it ends
		t.Fatalf("%d steps are the first one's", before)
	}
	r.GuidanceStart, r.GuidanceEnd = 0, 0
	first := r
	first.DenoisingEnd, first.GuidancePerStep = 0.5, scales[:before]
	second := r
	second.DenoisingStart, second.GuidancePerStep = 0.5, scales[before:]
	second.Controls = second.Controls[1:] // the other one has ended
	second.ImageLatents = generated(t, one, first).Latents
	second.Width, second.Height = 0, 0
	if want := generated(t, two, second); !slices.Equal(result.Latents.Data, want.Latents.Data) {
		t.Errorf("the latents are %v from those by hand", moved(result.Latents, want.Latents))
	}
}

// TestEverythingTogether: requests with all of it but ControlNets, which go alone, are computed together as each is
// alone.
func TestEverythingTogether(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	first := everything(t)
	first.Controls = nil
	second := first
	second.Prompt, second.Seed, second.NegativePrompt = "another", new(uint64(9)), new("blurry")
	want := []*Result{generated(t, m, first), generated(t, m, second)}
	done := 0
	m.GenerateBatch([]BatchRequest{
		{Context: t.Context(), Request: first, Done: same(t, &done, want[0])},
		{Context: t.Context(), Request: second, Done: same(t, &done, want[1])},
	})
	if done != 2 {
		t.Errorf("%d of 2 requests are done", done)
	}
}

// same is a BatchRequest.Done that wants a result's latents.
func same(t *testing.T, done *int, want *Result) func(*Result, error) {
	return func(got *Result, err error) {
		*done++
		switch {
		case err != nil:
			t.Error(err)
		case !slices.Equal(got.Latents.Data, want.Latents.Data):
			t.Errorf("together the latents are %v away", moved(got.Latents, want.Latents))
		}
	}
}
