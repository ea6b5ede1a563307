package sdxl

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
)

// guidanceCase is a goldenCase with what tools/reference/guidance.py has beyond cases.py.
type guidanceCase struct {
	goldenCase
	Seeds       []uint64
	Interval    []float64
	PAG         float64
	PAGAdaptive float64  `json:"pag_adaptive"`
	PAGLayers   []string `json:"pag_layers"`
	FreeU       []float64
	Init, Mask  string
	Controls    [][3]any // net, image, scale
	IP          [][3]any // adapter, images, scale
}

// guidanceCases are those of the golden.
func guidanceCases(t *testing.T, g *golden.File) (cases []guidanceCase) {
	t.Helper()
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 61 {
		t.Fatalf("%d cases, want the whole list", len(cases))
	}
	return cases
}

// plain is the request without what the case is about.
func (c guidanceCase) plain(t *testing.T, g *golden.File, drawn *controlGoldens, adapters string, prompts *golden.File) Request {
	r := c.request(t, g)
	r.LatentsOnly, r.NegativePrompt2 = true, nil
	if c.Seeds != nil {
		r.Seed, r.Seeds = nil, c.Seeds
	}
	if c.Init != "" {
		r.Image = drawn.picture(c.Init)
	}
	if c.Mask != "" {
		r.Mask = drawn.picture(c.Mask)
	}
	for _, of := range c.Controls {
		r.Controls = append(r.Controls, Control{Path: drawn.folder(of[0].(string)), Image: drawn.picture(of[1].(string)), Scale: new(of[2].(float64))})
	}
	for _, of := range c.IP {
		a := IPAdapter{Path: filepath.Join(adapters, "sdxl_models", of[0].(string)+".safetensors"), Encoder: filepath.Join(adapters, "models", "image_encoder"), Scale: new(of[2].(float64))}
		for _, name := range of[1].([]any) {
			a.Images = append(a.Images, promptImage(prompts, "image/"+name.(string)))
		}
		r.IPAdapters = append(r.IPAdapters, a)
	}
	return r
}

// extend adds what the case is about.
func (c guidanceCase) extend(r *Request) {
	if c.Interval != nil {
		r.GuidanceStart, r.GuidanceEnd = c.Interval[0], c.Interval[1]
	}
	r.PAGScale, r.PAGAdaptiveScale, r.PAGAppliedLayers = c.PAG, c.PAGAdaptive, c.PAGLayers
	if c.FreeU != nil {
		r.FreeU = &FreeU{c.FreeU[0], c.FreeU[1], c.FreeU[2], c.FreeU[3]}
	}
}

// TestGuidanceExtras compares whole runs with diffusers': an interval of guidance, PAG and FreeU, each alone and with
// what else a request can hold, to 5e-5 of the latents' norm. Without them the latents are others.
func TestGuidanceExtras(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/guidance.safetensors")
	prompts := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	drawn, adapters, m := openControlGoldens(t), ipFiles(t), newModels(t)
	for _, c := range guidanceCases(t, g) {
		t.Run(c.Name, func(t *testing.T) {
			model := m.changed(c.Model)
			r := c.plain(t, g, drawn, adapters, prompts)
			without, err := model.Generate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			c.extend(&r)
			result, err := model.Generate(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			want, shape := g.Floats(c.Name)
			if got := result.Latents.Shape; fmt.Sprint(got) != fmt.Sprint(shape) {
				t.Fatalf("latents %v, want %v", got, shape)
			}
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if by := moved(result.Latents, without.Latents); by < 0.01 {
				t.Errorf("the latents moved by %v", by)
			}
		})
	}
}

// changed opens a model of the goldens, or tiny with a UNet of another configuration.
func (m *models) changed(name string) *Model {
	m.t.Helper()
	lines := map[string][2]string{
		"tiny-inpaint":  {`"in_channels": 4`, `"in_channels": 9`},
		"tiny-headless": {`"mid_block_type": "UNetMidBlock2DCrossAttn"`, `"mid_block_type": null`},
	}
	line, changed := lines[name]
	if !changed {
		return m.open(name)
	}
	if m.opened[name] == nil {
		p, err := Open(m.t.Context(), changedFolder(m.t, name, line[0], line[1]), Options{Host: hostOf(m.dev)})
		if err != nil {
			m.t.Fatal(err)
		}
		m.t.Cleanup(func() {
			if err := p.Close(); err != nil {
				m.t.Error(err)
			}
		})
		m.opened[name] = p
	}
	return m.opened[name]
}

// TestPAGLayers looks at which self-attentions expressions are found in.
func TestPAGLayers(t *testing.T) {
	base, _ := specsOf(t)
	for layers, path := range map[string]func(string) bool{
		"mid":            func(path string) bool { return strings.HasPrefix(path, "mid_block.") },
		"mid,down":       func(path string) bool { return !strings.HasPrefix(path, "up_blocks.") },
		".":              func(string) bool { return true },
		"attentions.0":   func(path string) bool { return strings.Contains(path, ".attentions.0.") },
		"^up.*[1]$,mid_": func(path string) bool { return !strings.HasPrefix(path, "down") },
	} {
		perturbed, err := base.perturbed(strings.Split(layers, ","))
		if err != nil {
			t.Fatal(err)
		}
		for i, is := range perturbed {
			if at := base.PAGLayers()[i]; is != path(at) {
				t.Errorf("%s: %s is perturbed: %v", layers, at, is)
			}
		}
	}
}
