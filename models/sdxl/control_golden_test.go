package sdxl

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/controlnet"
	"github.com/goxl/goxl/nn/weights"
)

// controlCase is a run of tools/reference/controlnet.py.
type controlCase struct {
	goldenCase
	Seeds    []uint64
	Controls []struct {
		Net, Image        string
		Scale, Start, End *float64
		Mode              *int
	}
	Guess   bool
	Init    string
	Mask    string
	Padding *int
}

// controlGoldens is the golden file, and the nets of it in folders.
type controlGoldens struct {
	*golden.File
	t       *testing.T
	dir     string
	nets    map[string]struct{ Config, Component json.RawMessage }
	hint    float32
	written map[string]bool
}

func openControlGoldens(t *testing.T) *controlGoldens {
	t.Helper()
	g := &controlGoldens{File: golden.Open(t, testdata+"/goldens/controlnet.safetensors"), t: t, dir: t.TempDir(), written: map[string]bool{}}
	for key, to := range map[string]any{"nets": &g.nets, "hint": &g.hint} {
		if err := json.Unmarshal([]byte(g.Metadata[key]), to); err != nil {
			t.Fatalf("%s: %v", key, err)
		}
	}
	return g
}

// config is a net's configuration.
func (g *controlGoldens) config(name string) controlnet.Config {
	g.t.Helper()
	c, err := controlnet.ParseConfig(g.nets[name].Config, name)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// tensors are a net's, in float32.
func (g *controlGoldens) tensors(name string) []weights.Tensor {
	g.t.Helper()
	var component string
	if err := json.Unmarshal(g.nets[name].Component, &component); err != nil {
		g.t.Fatal(err)
	}
	src := weights.Synthetic(component, controlnet.Shapes(g.config(name)), kernels.F32)
	var list []weights.Tensor
	for _, tensor := range src.Names() {
		dtype, shape, data, err := src.Tensor(tensor)
		if err != nil {
			g.t.Fatal(err)
		}
		if tensor == "controlnet_cond_embedding.conv_out.weight" {
			data = scaledFloats(data, g.hint)
		}
		list = append(list, weights.NewTensor(tensor, dtype, shape, data))
	}
	return list
}

// scaledFloats multiplies float32 numbers.
func scaledFloats(data []byte, by float32) []byte {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i += 4 {
		v := by * math.Float32frombits(binary.LittleEndian.Uint32(data[i:]))
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// folder writes a net in diffusers' layout, once.
func (g *controlGoldens) folder(name string) string {
	g.t.Helper()
	dir := filepath.Join(g.dir, name)
	if g.written[name] {
		return dir
	}
	g.written[name] = true
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), g.nets[name].Config, 0o644); err != nil {
		g.t.Fatal(err)
	}
	if err := weights.Write(filepath.Join(dir, "diffusion_pytorch_model.safetensors"), g.tensors(name), nil); err != nil {
		g.t.Fatal(err)
	}
	return dir
}

// picture is an image of the golden.
func (g *controlGoldens) picture(name string) image.Image {
	g.t.Helper()
	return imageOf(g.Bytes("image." + name))
}

// imageOf is an image of RGB bytes [H, W, 3].
func imageOf(data []byte, shape []int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	for i := range shape[0] * shape[1] {
		copy(img.Pix[4*i:], data[3*i:3*i+3])
		img.Pix[4*i+3] = 0xff
	}
	return img
}

func (c controlCase) controls(g *controlGoldens) (list []Control) {
	for _, of := range c.Controls {
		control := Control{Path: g.folder(of.Net), Image: g.picture(of.Image), Scale: of.Scale, Start: or(of.Start, 0), End: or(of.End, 0), GuessMode: c.Guess}
		if of.Mode != nil {
			control.Mode = strconv.Itoa(*of.Mode)
		}
		list = append(list, control)
	}
	return list
}

func (c controlCase) request(t *testing.T, g *controlGoldens) Request {
	r := c.goldenCase.request(t, g.File)
	if c.Negative2 == "" {
		r.NegativePrompt2 = nil
	}
	if c.Seeds != nil {
		r.Seed, r.Seeds = nil, c.Seeds
	}
	if c.Init != "" {
		r.Image, r.Width, r.Height = g.picture(c.Init), 0, 0
	}
	if c.Mask != "" {
		r.Mask, r.MaskPadding = g.picture(c.Mask), c.Padding
	}
	if c.Padding != nil {
		r.Width, r.Height = c.Width, c.Height
	}
	r.Controls, r.LatentsOnly = c.controls(g), true
	return r
}

// TestControlNets compares whole runs with ControlNets with diffusers' pipelines: of every kind, several, scaled, from
// and to fractions of the steps, in guess mode, with image-to-image, and unions.
func TestControlNets(t *testing.T) {
	t.Parallel()
	g := openControlGoldens(t)
	var cases []controlCase
	if err := json.Unmarshal([]byte(g.Metadata["cases"]), &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 32 {
		t.Fatalf("%d cases, want the whole list", len(cases))
	}
	p := newModels(t).open("tiny")
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			result, err := p.Generate(t.Context(), c.request(t, g))
			if err != nil {
				t.Fatal(err)
			}
			want, shape := g.Floats("run." + c.Name)
			if got := result.Latents.Shape; fmt.Sprint(got) != fmt.Sprint(shape) {
				t.Fatalf("latents %v, want %v", got, shape)
			}
			golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
			if got, n := result.Parameters.Controls, len(c.Controls); len(got) != n || got[0].Name != c.Controls[0].Net {
				t.Errorf("parameters say %+v, want %d", got, n)
			}
		})
	}
}

// moved is how far latents are from others, relative to their largest.
func moved(a, b *Tensor) float64 {
	var most, largest float64
	for i, v := range a.Data {
		most, largest = max(most, math.Abs(float64(v-b.Data[i]))), max(largest, math.Abs(float64(v)))
	}
	return most / largest
}
