package sdxl

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels/cuda"
)

// TestControlNetsOnCard runs every case of TestControlNets on a card in its own precision. What is wired wrongly moves
// the latents by more than 1.4 %, the least that another image does; twice the error of a run without ControlNets and a
// half of that is allowed.
func TestControlNetsOnCard(t *testing.T) {
	dev, err := cuda.Open(cuda.Options{})
	if err != nil {
		require.Lacks(t, "cuda", err)
	}
	t.Cleanup(func() { dev.Close() })
	g := openControlGoldens(t)
	var cases []controlCase
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	cases = slices.DeleteFunc(cases, func(c controlCase) bool { return c.Mask != "" }) // a request has no mask
	m := &models{t, dev, map[string]*Model{}}
	p, cpu := m.open("tiny"), newModels(t).open("tiny")
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r := c.request(t, g)
			want, shape := g.Floats("run." + c.Name)
			got := generated(t, p, r)
			r.Controls = nil
			allowed := 2*moved(generated(t, cpu, r).Latents, generated(t, p, r).Latents) + 0x1p-7
			if far := moved(latentsOf(want, shape), got.Latents); far > allowed {
				t.Errorf("%g from diffusers, allowed %g", far, allowed)
			}
		})
	}
	a := golden.Open(t, testdata+"/goldens/t2iadapter.safetensors")
	r := small()
	r.Width, r.Height, r.LatentsOnly = 64, 48, true
	r.T2IAdapters = []T2IAdapter{{Path: adapterFolders(t, a) + "/colour", Image: imageOf(a.Bytes("image.a"))}}
	if far := moved(generated(t, cpu, r).Latents, generated(t, p, r).Latents); far > 0x1p-6 {
		t.Errorf("with a T2I-Adapter the card is %g from the CPU", far)
	}
}
