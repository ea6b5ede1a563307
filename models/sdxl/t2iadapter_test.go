package sdxl

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/t2iadapter"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestT2IAdapters compares whole runs with T2I-Adapters with diffusers' pipeline.
func TestT2IAdapters(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/t2iadapter.safetensors")
	var cases []struct {
		goldenCase
		Adapters []struct {
			Net, Image string
			Scale      float64
		}
	}
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 5 {
		t.Fatalf("%d cases, want the whole list", len(cases))
	}
	dir := adapterFolders(t, g)
	p := newModels(t).open("tiny")
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r := c.request(t, g)
			r.NegativePrompt2, r.LatentsOnly = nil, true
			for _, a := range c.Adapters {
				r.T2IAdapters = append(r.T2IAdapters, T2IAdapter{Path: filepath.Join(dir, a.Net), Image: imageOf(g.Bytes("image." + a.Image)), Scale: &a.Scale})
			}
			result, err := p.Generate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			want, _ := g.Floats("run." + c.Name)
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if got := result.Parameters.T2IAdapters; len(got) != len(c.Adapters) || got[0].Name != c.Adapters[0].Net || got[0].Scale != c.Adapters[0].Scale {
				t.Errorf("parameters say %+v", got)
			}
		})
	}
}

// adapterFolders writes the golden's adapters in diffusers' layout.
func adapterFolders(t *testing.T, g *golden.File) string {
	t.Helper()
	var nets map[string]struct {
		Config    json.RawMessage
		Component string
	}
	if err := json.Unmarshal([]byte(g.Metadata["nets"]), &nets); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, net := range nets {
		c, err := t2iadapter.ParseConfig(net.Config, name)
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "config.json"), net.Config, 0o644); err != nil {
			t.Fatal(err)
		}
		src := weights.Synthetic(net.Component, nn.Shapes(t2iadapter.New(c)), kernels.F32)
		var list []weights.Tensor
		for _, tensor := range src.Names() {
			dtype, shape, data, err := src.Tensor(tensor)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, weights.NewTensor(tensor, dtype, shape, data))
		}
		if err := weights.Write(filepath.Join(folder, "diffusion_pytorch_model.safetensors"), list, nil); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
