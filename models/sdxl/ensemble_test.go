package sdxl

import (
	"encoding/json"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// long is a prompt that no encoder takes whole.
var long = "a castle made of glass" + strings.Repeat(", a ship under the stars", 40)

// ensembleRequest is a quick request whose steps are shared 4 to 2.
func ensembleRequest() Request {
	r := small()
	r.Steps = 6
	return r
}

const share = 0.6

// halves draws with base and refiner one after the other, as a program without Ensemble does.
func halves(t *testing.T, base, refiner *Model, r Request, share float64) (first, second *Result) {
	t.Helper()
	a, b := r, r
	a.DenoisingEnd, a.LatentsOnly = share, true
	first, err := base.Generate(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	b.DenoisingStart, b.ImageLatents = share, first.Latents
	if second, err = refiner.Generate(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return first, second
}

// TestEnsemble is both halves one after the other: latents, steps, and what each warns of, the base first.
func TestEnsemble(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := ensembleRequest()
	r.Prompt = long
	first, second := halves(t, base, refiner, r, share)
	if len(first.Warnings) != 2 || len(second.Warnings) != 1 { // one an encoder
		t.Fatalf("warnings %q and %q", first.Warnings, second.Warnings)
	}
	got, err := Ensemble(t.Context(), r, Expert{base, share}, Expert{Model: refiner})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Latents.Data, second.Latents.Data) || len(got.Images) != 1 || !slices.Equal(got.Images[0].Pix, second.Images[0].Pix) {
		t.Error("another image than by its halves")
	}
	if got.Steps != first.Steps+second.Steps || first.Steps == 0 || second.Steps == 0 {
		t.Errorf("%d steps, the halves do %d and %d", got.Steps, first.Steps, second.Steps)
	}
	if want := slices.Concat(first.Warnings, second.Warnings); !slices.Equal(got.Warnings, want) {
		t.Errorf("warnings %q, want %q", got.Warnings, want)
	}
}

// TestEnsembleSteps numbers the steps of both halves as one run, for Progress and OnStep alike.
func TestEnsembleSteps(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	first, second := halves(t, base, refiner, ensembleRequest(), share)
	r := ensembleRequest()
	var steps, seen []int
	var latents []*Tensor
	r.Progress = func(p Progress) {
		steps = append(steps, p.Step)
		if p.Steps != 6 || (p.Left == 0) != (p.Step == 6) {
			t.Errorf("progress %+v", p)
		}
	}
	r.OnStep = func(step int, x *Tensor) error {
		seen, latents = append(seen, step), append(latents, x)
		return nil
	}
	if _, err := Ensemble(t.Context(), r, Expert{base, share}, Expert{Model: refiner}); err != nil {
		t.Fatal(err)
	}
	if want := []int{1, 2, 3, 4, 5, 6}; !slices.Equal(steps, want) || !slices.Equal(seen, want) {
		t.Fatalf("progress at %v, latents at %v, want %v", steps, seen, want)
	}
	if !slices.Equal(latents[first.Steps-1].Data, first.Latents.Data) || !slices.Equal(latents[5].Data, second.Latents.Data) {
		t.Error("the latents seen are not those of the halves")
	}
}

// TestEnsembleEnd stops the refiner where the request's own denoising_end says.
func TestEnsembleEnd(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := ensembleRequest()
	whole, err := Ensemble(t.Context(), r, Expert{base, 0.5}, Expert{Model: refiner})
	if err != nil {
		t.Fatal(err)
	}
	r.DenoisingEnd = 0.8
	got, err := Ensemble(t.Context(), r, Expert{base, 0.5}, Expert{Model: refiner})
	if err != nil {
		t.Fatal(err)
	}
	a, b := r, r
	a.DenoisingEnd, a.LatentsOnly = 0.5, true
	first, err := base.Generate(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	b.DenoisingStart, b.ImageLatents = 0.5, first.Latents
	want, err := refiner.Generate(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if got.Steps >= whole.Steps || got.Steps != first.Steps+want.Steps || !slices.Equal(got.Latents.Data, want.Latents.Data) {
		t.Errorf("%d steps, want %d, fewer than %d", got.Steps, first.Steps+want.Steps, whole.Steps)
	}
}

// TestEnsembleChecksBoth refuses what the refiner can't do before the base begins.
func TestEnsembleChecksBoth(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	r := ensembleRequest()
	r.DenoisingEnd = 0.3 // before the refiner would begin
	r.OnStep = func(int, *Tensor) error {
		t.Error("the base began")
		return nil
	}
	if _, err := Ensemble(t.Context(), r, Expert{base, 0.5}, Expert{Model: refiner}); err == nil {
		t.Error("no error")
	}
}

// TestHandOver compares runs in which a pipeline has no step with diffusers: it passes its latents on, and the result
// says so.
func TestHandOver(t *testing.T) {
	g := golden.Open(t, testdata+"/goldens/handover.safetensors")
	var cases []struct {
		Name, Scheduler string
		DenoisingEnd    float64 `json:"denoising_end"`
		Steps, N        int
		Strength        float64
		InputImage      string `json:"input_image"`
		BaseStepsDone   int    `json:"base_steps_done"`
		StepsDone       int    `json:"steps_done"`
	}
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r := Request{Prompt: g.Metadata["prompt"]}
			r.Width, r.Height, r.Steps, r.Seed, r.Scheduler, r.ImagesPerPrompt = 40, 32, c.Steps, new(uint64(11)), c.Scheduler, max(c.N, 1)
			var result *Result
			var err error
			if c.InputImage != "" {
				r.Width, r.Height, r.Strength, r.DenoisingEnd = 0, 0, c.Strength, c.DenoisingEnd
				f, openErr := os.Open(filepath.Join(testdata, c.InputImage))
				if openErr != nil {
					t.Fatal(openErr)
				}
				defer f.Close()
				if r.Image, err = png.Decode(f); err != nil {
					t.Fatal(err)
				}
				result, err = refiner.Generate(t.Context(), r)
			} else {
				var left *Tensor
				steps := []int{}
				r.OnStep = func(step int, x *Tensor) error {
					if steps = append(steps, step); step == c.BaseStepsDone {
						left = x
					}
					return nil
				}
				r.Progress = func(p Progress) {
					if p.Steps != c.StepsDone {
						t.Errorf("progress of %d steps, want %d", p.Steps, c.StepsDone)
					}
				}
				result, err = Ensemble(t.Context(), r, Expert{base, c.DenoisingEnd}, Expert{Model: refiner})
				if err == nil && len(steps) != c.StepsDone {
					t.Errorf("steps %v, want %d", steps, c.StepsDone)
				}
				if left != nil {
					want, _ := g.Floats(c.Name + ".base")
					golden.Near(t, "base", left.Data, want, 5e-5)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			want, shape := g.Floats(c.Name)
			if got := result.Latents.Shape; fmt.Sprint(got[:]) != fmt.Sprint(shape) {
				t.Fatalf("latents %v, want %v", got, shape)
			}
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if result.Steps != c.StepsDone || len(result.Images) != r.ImagesPerPrompt {
				t.Errorf("%d steps and %d images, want %d and %d", result.Steps, len(result.Images), c.StepsDone, r.ImagesPerPrompt)
			}
			if len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "has no step to do") || !strings.Contains(result.Warnings[0], fmt.Sprint(c.DenoisingEnd)) {
				t.Errorf("warnings %q", result.Warnings)
			}
		})
	}
}

// TestWarnings has every task warn of what was cut off the prompts, and of a size that the model was not made for.
func TestWarnings(t *testing.T) {
	m := newModels(t)
	base, refiner := m.open("tiny"), m.open("tiny-refiner")
	cut := func(warnings []string) (n int) {
		for _, w := range warnings {
			if strings.Contains(w, "prompt was cut after 75 of ") && strings.Contains(w, "a ship under the stars") {
				n++
			}
		}
		return n
	}
	r := small()
	if result, err := base.Generate(t.Context(), r); err != nil || len(result.Warnings) != 0 {
		t.Errorf("a short prompt: %v, %v", result, err)
	}
	r.Prompt = long
	result, err := base.Generate(t.Context(), r)
	if err != nil || cut(result.Warnings) != 2 || len(result.Warnings) != 2 {
		t.Errorf("generate: %v, %v", result, err)
	}
	r.Prompt, r.NegativePrompt = "a lighthouse", &long
	if result, err = base.Generate(t.Context(), r); err != nil || cut(result.Warnings) != 2 {
		t.Errorf("negative: %v, %v", result, err)
	}
	r.Prompt, r.ClipSkip = long, 1 // which encodes the two apart
	if result, err = base.Generate(t.Context(), r); err != nil || cut(result.Warnings) != 4 {
		t.Errorf("both: %v, %v", result, err)
	}
	r.Image, r.Strength, r.ClipSkip, r.NegativePrompt = result.Images[0], 0.5, 0, nil
	if result, err = refiner.Generate(t.Context(), r); err != nil || cut(result.Warnings) != 1 || len(result.Warnings) != 1 {
		t.Errorf("refine: %v, %v", result, err)
	}
	base.spec.defaults.largest, base.spec.defaults.width, base.spec.defaults.height = 32*32, 32, 32
	r = small()
	if result, err = base.Generate(t.Context(), r); err != nil || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "48×40 pixels") {
		t.Errorf("size: %v, %v", result, err)
	}
}
