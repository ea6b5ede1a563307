package sdxl

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// small is a quick request.
func small() Request {
	r := Request{Prompt: "a lighthouse"}
	r.Width, r.Height, r.Steps, r.Seed = 48, 40, 4, new(uint64(7))
	return r
}

// TestSavedFolder opens a folder as diffusers and transformers 5 saved it: fp16 files, a sharded UNet, an encoder without the prefix text_model.
func TestSavedFolder(t *testing.T) {
	m := newModels(t)
	p, err := Open(t.Context(), testdata+"/saved", Options{Host: hostOf(m.dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g := golden.Open(t, testdata+"/goldens/saved.safetensors")
	var call struct {
		Prompt   string
		Negative string `json:"negative_prompt"`
		Width    int
		Height   int
		Steps    int `json:"num_inference_steps"`
	}
	if err := json.Unmarshal([]byte(g.Metadata["call"]), &call); err != nil {
		t.Fatal(err)
	}
	r := Request{Prompt: call.Prompt}
	r.NegativePrompt, r.Width, r.Height, r.Steps, r.Seed = &call.Negative, call.Width, call.Height, call.Steps, new(uint64(0))
	result, err := p.Generate(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := g.Floats("latents")
	golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
	pixels, _ := g.Floats("image")
	far := 0
	for i, v := range pixels {
		if d := float64(result.Images[0].Pix[i/3*4+i%3]) - 255*float64(v); d < -1.5 || d > 1.5 {
			far++
		}
	}
	if float64(far) > 0.001*float64(len(pixels)) {
		t.Errorf("%d of %d values are off by more than one level", far, len(pixels))
	}
}

func TestSharing(t *testing.T) {
	m := newModels(t)
	base, same, own := m.open("tiny"), m.open("tiny-refiner"), m.open("tiny-refiner-own")
	if same.TextEncoder2 != base.TextEncoder2 || same.VAE != base.VAE {
		t.Error("a refiner with the base's encoder and VAE has copies of them")
	}
	if own.TextEncoder2 == base.TextEncoder2 {
		t.Error("a refiner whose encoder has other values shares the base's")
	}
	if own.VAE != base.VAE {
		t.Error("a refiner with the base's VAE, read from a folder, has a copy of it")
	}
	if _, err := refinerOf(t, base, "synth:tiny"); err == nil || !strings.Contains(err.Error(), "is a base") {
		t.Errorf("a base as refiner: %v", err)
	}
	if _, err := same.Generate(context.Background(), small()); err == nil || !strings.Contains(err.Error(), "this is a refiner") {
		t.Errorf("a refiner as base: %v", err)
	}
}

func TestProgressAndHook(t *testing.T) {
	p := newModels(t).open("tiny")
	r := small()
	var steps, seen []int
	var last *Tensor
	r.Progress = func(p Progress) {
		if p.Steps != 4 || p.Elapsed <= 0 || p.Left < 0 || p.Step == 4 && p.Left != 0 {
			t.Errorf("progress %+v", p)
		}
		steps = append(steps, p.Step)
	}
	r.OnStep = func(step int, x *Tensor) error {
		seen, last = append(seen, step), x
		return nil
	}
	result, err := p.Generate(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 2, 3, 4}; !slices.Equal(steps, want) || !slices.Equal(seen, want) {
		t.Errorf("progress at %v, latents at %v, want %v", steps, seen, want)
	}
	if !slices.Equal(last.Data, result.Latents.Data) {
		t.Error("the last latents seen are not the result's")
	}
}

func TestCancel(t *testing.T) {
	p := newModels(t).open("tiny")
	ctx, cancel := context.WithCancel(context.Background())
	r := small()
	r.Progress = func(p Progress) {
		if p.Step == 2 {
			cancel()
		}
		if p.Step > 2 {
			t.Error("the run went on")
		}
	}
	if _, err := p.Generate(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	r.Progress = nil
	if _, err := p.Generate(context.Background(), r); err != nil {
		t.Errorf("after a cancelled run: %v", err)
	}
	slot, err := p.host.acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer slot.release()
	if _, err := p.Start(ctx, r); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for the pipeline: %v", err)
	}
}

// TestManyCallers shares a pipeline, and a refiner that shares its parts, between goroutines.
func TestManyCallers(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	want, err := base.Generate(context.Background(), small())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if i%3 == 0 {
				r := small()
				r.Image = want.Images[0]
				if _, err := refiner.Generate(context.Background(), r); err != nil {
					t.Error(err)
				}
				return
			}
			got, err := base.Generate(context.Background(), small())
			if err != nil {
				t.Error(err)
			} else if !slices.Equal(got.Latents.Data, want.Latents.Data) {
				t.Error("a seed gave another image")
			}
		})
	}
	wg.Wait()
}

// TestEnsembleIsTwoRuns compares Ensemble with its halves, made by hand.
func TestEnsembleIsTwoRuns(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := small()
	r.Steps = 10
	var last Progress
	r.Progress = func(p Progress) {
		if p.Step != last.Step+1 || p.Steps != 10 {
			t.Errorf("progress %+v after %+v", p, last)
		}
		last = p
	}
	got, err := Ensemble(context.Background(), r, Expert{base, 0.8}, Expert{Model: refiner})
	if err != nil {
		t.Fatal(err)
	}
	if got.Steps != 10 || last.Step != 10 {
		t.Errorf("%d steps, the last reported %d", got.Steps, last.Step)
	}
	r.Progress = nil
	first := r
	first.DenoisingEnd = 0.8
	draft, err := base.Generate(context.Background(), first)
	if err != nil {
		t.Fatal(err)
	}
	second := r
	second.DenoisingStart, second.ImageLatents = 0.8, draft.Latents
	want, err := refiner.Generate(context.Background(), second)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Latents.Data, want.Latents.Data) {
		t.Error("the ensemble is not its two halves")
	}
}
