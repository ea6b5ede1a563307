package sdxl

import (
	"encoding/json"
	"image"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/ipadapter"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/lora"
)

// The encoder and the adapters of tools/reference/ip_adapter.py.
const ipEncoderConfig = `{"hidden_size": 64, "intermediate_size": 96, "projection_dim": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "image_size": 32, "patch_size": 8, "hidden_act": "gelu"}`

var (
	ipLayers  = []int{32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 32, 32, 32, 48, 48}
	ipConfigs = map[string]ipadapter.Config{
		"base": {Width: 48, Tokens: 4, Context: 80, Layers: ipLayers},
		"plus": {Plus: true, Width: 64, Tokens: 6, Context: 80, Hidden: 96, Depth: 4, Heads: 2, Intermediate: 384, Layers: ipLayers},
	}
)

// writeTensors writes a file of random weights.
func writeTensors(t testing.TB, path, component string, shapes map[string][]int) {
	t.Helper()
	tensors, err := weights.Tensors(weights.Synthetic(component, shapes, kernels.F32))
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = weights.Write(path, tensors, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// writeEncoder writes a folder with an image encoder.
func writeEncoder(t testing.TB, dir, component, config string) string {
	t.Helper()
	c, err := clip.ParseVisionConfig([]byte(config), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	writeTensors(t, filepath.Join(dir, "model.safetensors"), component, clip.VisionShapes(c))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ipFiles writes the adapters and their encoder as h94/IP-Adapter has them, and returns the folder.
func ipFiles(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, c := range ipConfigs {
		writeTensors(t, filepath.Join(dir, "sdxl_models", name+".safetensors"), name, ipadapter.Shapes(c))
	}
	writeEncoder(t, filepath.Join(dir, "models", "image_encoder"), "encoder-a", ipEncoderConfig)
	return dir
}

// goldenImage reads an image of a reference output.
func promptImage(g *golden.File, name string) *image.NRGBA {
	pix, shape := g.Bytes(name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	for i := range shape[0] * shape[1] {
		p := pix[i*shape[2]:]
		rgba := [4]uint8{p[0], p[0], p[0], 255}
		if shape[2] >= 3 {
			copy(rgba[:], p[:shape[2]])
		}
		copy(img.Pix[4*i:], rgba[:])
	}
	return img
}

// ipRun is a run of tools/reference/ip_adapter.py.
type ipRun struct {
	Adapters        []string
	Images          [][]string
	Scale           []any
	Guidance        *float64
	Count           int
	Masks           [][]string
	Height, Width   int
	Image           string
	Strength        float64
	LoRA, Scheduler string
}

func (c ipRun) request(t *testing.T, g *golden.File, name, dir string) Request {
	t.Helper()
	r := small()
	r.LatentsOnly, r.ImagesPerPrompt, r.Guidance = true, c.Count, c.Guidance
	if c.Height > 0 {
		r.Height, r.Width = c.Height, c.Width
	}
	if c.Image != "" {
		r.Height, r.Width = 0, 0
		r.Image, r.Strength = promptImage(g, "run/"+name+"/image"), c.Strength
	}
	if c.LoRA != "" {
		r.LoRAs = []LoRA{{testdata + "/lora/" + c.LoRA, lora.Strength(1)}}
	}
	if c.Scheduler != "" {
		r.Scheduler = "heun"
	}
	for i, name := range c.Adapters {
		a := IPAdapter{Path: filepath.Join(dir, "sdxl_models", name+".safetensors"), Encoder: filepath.Join(dir, "models", "image_encoder")}
		if c.Scale != nil {
			switch s := c.Scale[i].(type) {
			case float64:
				a.Scale = &s
			case map[string]any:
				a.Scales = s
			}
		}
		for k, img := range c.Images[i] {
			a.Images = append(a.Images, promptImage(g, "image/"+img))
			if c.Masks != nil && c.Masks[i] != nil { // an adapter for each image
				a.Mask = promptImage(g, "mask/"+c.Masks[i][k])
				r.IPAdapters = append(r.IPAdapters, a)
				a.Images, a.Mask = nil, nil
			}
		}
		if a.Images != nil {
			r.IPAdapters = append(r.IPAdapters, a)
		}
	}
	return r
}

func ipRuns(t *testing.T, g *golden.File) map[string]ipRun {
	t.Helper()
	var runs map[string]ipRun
	if err := json.Unmarshal([]byte(g.Metadata["runs"]), &runs); err != nil || len(runs) == 0 {
		t.Fatalf("%d runs: %v", len(runs), err)
	}
	return runs
}

// TestIPAdapterGoldens holds final latents against diffusers' pipelines with IP-Adapters, one and several, with images,
// scales of blocks and masks.
func TestIPAdapterGoldens(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	runs := ipRuns(t, g)
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		result, err := m.Generate(t.Context(), runs[name].request(t, g, name, dir))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, _ := g.Floats("run/" + name)
		golden.Near(t, name, result.Latents.Data, want, 5e-5)
	}
}

// TestIPAdapterInputs changes each part of image prompts: the latents move by more than a hundredth.
func TestIPAdapterInputs(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	runs := ipRuns(t, g)
	generate := func(name string, change func(*Request)) []float32 {
		t.Helper()
		r := runs[name].request(t, g, name, dir)
		change(&r)
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return result.Latents.Data
	}
	for _, c := range []struct {
		run, what string
		change    func(*Request)
	}{
		{"base", "image", func(r *Request) { r.IPAdapters[0].Images = []image.Image{promptImage(g, "image/b")} }},
		{"plus", "image", func(r *Request) { r.IPAdapters[0].Images[1] = promptImage(g, "image/a") }},
		{"plus", "an image less", func(r *Request) { r.IPAdapters[0].Images = r.IPAdapters[0].Images[:1] }},
		{"both", "scale", func(r *Request) { r.IPAdapters[1].Scale = new(0.8) }},
		{"both", "an adapter less", func(r *Request) { r.IPAdapters = r.IPAdapters[:1] }},
		{"style", "scales", func(r *Request) {
			r.IPAdapters[0].Scales = BlockScales{"up": map[string]any{"block_0": []any{1., 0., 0.}}}
		}},
		{"masks", "mask", func(r *Request) { r.IPAdapters[0].Mask = r.IPAdapters[1].Mask }},
		{"masks", "no mask", func(r *Request) { r.IPAdapters[1].Mask = nil }},
		{"image-to-image", "image", func(r *Request) { r.IPAdapters[0].Images = []image.Image{promptImage(g, "image/d")} }},
		{"lora", "no LoRA", func(r *Request) { r.LoRAs = nil }},
		{"unguided", "image", func(r *Request) { r.IPAdapters[0].Images = []image.Image{promptImage(g, "image/c")} }},
	} {
		want := generate(c.run, func(*Request) {})
		if d, err := golden.Distance(generate(c.run, c.change), want); err != nil || d < 0.01 {
			t.Errorf("%s, another %s: moved by %v, %v", c.run, c.what, d, err)
		}
	}
	// A scale of 0 gives what there is without the adapter, bit for bit; so does a mask that is black.
	without := generate("base", func(r *Request) { r.IPAdapters = nil })
	for what, change := range map[string]func(*Request){
		"scale 0":    func(r *Request) { r.IPAdapters[0].Scale = new(0.0) },
		"black mask": func(r *Request) { r.IPAdapters[0].Mask = image.NewGray(image.Rect(0, 0, 9, 9)) },
	} {
		if !slices.Equal(generate("base", change), without) {
			t.Errorf("%s: not what it is without", what)
		}
	}
}

// TestIPAdapterBatch computes requests with different image prompts together, and steps one whose latents are parked.
func TestIPAdapterBatch(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	runs := ipRuns(t, g)
	a := runs["base"].request(t, g, "base", dir)
	b := runs["base"].request(t, g, "base", dir)
	b.IPAdapters[0].Images, b.ImagesPerPrompt = []image.Image{promptImage(g, "image/b")}, 2
	c := runs["masks"].request(t, g, "masks", dir)
	d := runs["masks"].request(t, g, "masks", dir)
	d.IPAdapters[0].Mask = promptImage(g, "mask/dots")
	var want [][]float32
	requests := []Request{a, b, c, d}
	for i := range requests {
		result, err := m.Generate(t.Context(), requests[i])
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, result.Latents.Data)
	}
	for i, o := range batchOf(t, m, requests, nil) {
		if o.err != nil || !slices.Equal(o.Latents.Data, want[i]) {
			t.Errorf("request %d of a batch: %v, not what it is alone", i, o.err)
		}
	}
	first, err := m.Start(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := first.Step(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Generate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for first.Next() {
		if err := first.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	x, err := first.Latents(t.Context())
	if err != nil || !slices.Equal(x.Data, want[0]) {
		t.Errorf("parked in between: %v, not what it is alone", err)
	}
}
