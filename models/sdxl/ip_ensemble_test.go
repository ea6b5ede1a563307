package sdxl

import (
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// TestIPAdapterOfTwoBases has an ensemble whose second model is a base too, which reads the image prompts as the first
// does: both together give what one model does alone.
func TestIPAdapterOfTwoBases(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	m, dir := models.open("tiny"), ipFiles(t)
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	r := ipRuns(t, g)["base"].request(t, g, "base", dir)
	r.Steps, r.Scheduler = 4, "euler"
	want, err := m.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Ensemble(t.Context(), r, Expert{Model: m, DenoisingEnd: 0.5}, Expert{Model: models.open("tiny")})
	if err != nil {
		t.Fatal(err)
	}
	golden.Near(t, "latents", got.Latents.Data, want.Latents.Data, 5e-5)
}
