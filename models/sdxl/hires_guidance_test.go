package sdxl

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestHiresGuidance: scales of guidance count the steps of both passes, the last one holds for the rest, and the error of
// a list that is too long names the steps of each.
func TestHiresGuidance(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	r := small()
	r.Steps, r.LatentsOnly, r.Hires = 3, true, &Hires{Steps: 2}
	with := func(scales ...float64) []float32 {
		r := r
		r.GuidancePerStep = scales
		result := generated(t, m, r)
		if p := result.Parameters; !slices.Equal(p.GuidancePerStep, scales) || p.Guidance != scales[0] {
			t.Errorf("the parameters have guidance %v, %v of %v", p.Guidance, p.GuidancePerStep, scales)
		}
		return result.Latents.Data
	}
	if !slices.Equal(with(5, 3, 2), with(5, 3, 2, 2, 2)) {
		t.Error("the last scale does not hold for the second pass")
	}
	second := with(5, 3, 2, 7, 4)
	if slices.Equal(second, with(5, 3, 2)) || slices.Equal(second, with(5, 3, 2, 7)) {
		t.Error("the second pass has no scales of its own")
	}
	first := r
	first.Hires, first.GuidancePerStep = nil, []float64{5, 3, 2}
	x := generated(t, m, first).Latents
	two := r
	two.Hires, two.Width, two.Height, two.Steps, two.Strength = nil, 0, 0, 2, 1
	two.ImageLatents, two.GuidancePerStep = latentModes["latent"].resize(x, 2*x.Shape[2], 2*x.Shape[3]), []float64{7, 4}
	r.Hires.Strength = 1
	if !slices.Equal(with(5, 3, 2, 7, 4), generated(t, m, two).Latents.Data) {
		t.Error("the second pass is not image-to-image with the scales behind the first pass's")
	}
	r.GuidancePerStep = []float64{1, 2, 3, 4, 5, 6}
	_, err := m.Generate(t.Context(), r)
	var bad *RequestError
	if !errors.As(err, &bad) || bad.Field != "guidance_scale" || !strings.Contains(err.Error(), "up to 5: one for each of the 3 steps of the first pass, then of the 2 of the second") {
		t.Errorf("error %v", err)
	}
}
