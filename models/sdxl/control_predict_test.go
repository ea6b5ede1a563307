package sdxl

import (
	"image"
	"slices"
	"testing"
)

// TestPredictBehindTheLastStep: a prediction is steered as at the last step once that is taken, by what the run's own
// ControlNet gives.
func TestPredictBehindTheLastStep(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	m := newModels(t).open("tiny")
	predict := func(r Request, before int, first image.Image) []float32 {
		run, err := m.Start(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		defer run.Close()
		x, err := run.Latents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range len(run.Schedule().Steps) - before {
			if err := run.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if first != nil { // another run's residuals are in the program
			other := r
			other.Controls = []Control{{Path: r.Controls[0].Path, Image: first}}
			run, err := m.Start(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			if _, err := run.Predict(t.Context(), x, 500, 1); err != nil {
				t.Fatal(err)
			}
		}
		p, err := run.Predict(t.Context(), x, 500, 1)
		if err != nil {
			t.Fatal(err)
		}
		return p.Conditional.Data
	}
	r := controlled(g, "full")
	if !slices.Equal(predict(r, 1, nil), predict(r, 0, g.picture("b"))) {
		t.Error("a prediction behind the last step is steered by another run's control image")
	}
	r.Controls[0].End = 0.5
	if !slices.Equal(predict(r, 1, nil), predict(r, 0, g.picture("b"))) {
		t.Error("a ControlNet that has ended steers a prediction behind the last step")
	}
}
