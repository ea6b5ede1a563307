package sdxl

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// kdiffusionCase is a run, or one of a batch with a seed for each image.
type kdiffusionCase struct {
	goldenCase
	Seeds []uint64
}

// kdiffusionCases are the runs of tools/reference/kdiffusion_tiny.py.
func kdiffusionCases(t *testing.T) (*golden.File, []kdiffusionCase) {
	t.Helper()
	g := golden.Open(t, testdata+"/goldens/kdiffusion.safetensors")
	var cases []kdiffusionCase
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	return g, cases
}

// TestKDiffusion samples the tiny UNet as A1111 and ComfyUI do: latents after the same noise, by their own code.
func TestKDiffusion(t *testing.T) {
	t.Parallel()
	g, cases := kdiffusionCases(t)
	m := newModels(t).open("tiny")
	for _, c := range cases {
		r := c.request(t, g)
		r.LatentsOnly, r.Guidance = true, new(5.0)
		if len(c.Seeds) > 0 {
			r.Seed, r.Seeds, r.ImagesPerPrompt = nil, c.Seeds, len(c.Seeds)
		}
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		want, shape := g.Floats(c.Name)
		if fmt.Sprint(result.Latents.Shape) != fmt.Sprint(shape) {
			t.Fatalf("%s: latents %v, want %v", c.Name, result.Latents.Shape, shape)
		}
		golden.Near(t, c.Name, result.Latents.Data, want, 5e-5)
		if result.Parameters.Scheduler != c.Scheduler || result.Parameters.Steps != c.Steps {
			t.Errorf("%s: the parameters have %s, %d steps", c.Name, result.Parameters.Scheduler, result.Parameters.Steps)
		}
	}
}

// TestSchedulerAliases gives the same parameters for A1111's, ComfyUI's and goxl's names.
func TestSchedulerAliases(t *testing.T) {
	t.Parallel()
	base, _ := specsOf(t)
	for alias, name := range map[string]string{
		"DPM++ 2M Karras": "k_dpmpp_2m_karras", "Euler a": "k_euler_a", "dpmpp_2m_sde_gpu karras": "comfy_dpmpp_2m_sde_karras", "EULER": "k_euler",
	} {
		got, err := base.Resolve(Request{Scheduler: alias, Steps: 8})
		want, wantErr := base.Resolve(Request{Scheduler: name, Steps: 8})
		if err != nil || wantErr != nil || got.String() != want.String() || got.Scheduler != name {
			t.Errorf("%s: %v, %v\n%s: %v, %v", alias, got, err, name, want, wantErr)
		}
	}
}
