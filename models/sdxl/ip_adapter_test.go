package sdxl

import (
	"encoding/json"
	"fmt"
	"image"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// writeSynthetic writes a file of random weights.
func writeSynthetic(t testing.TB, path, component string, shapes map[string][]int) {
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
	writeSynthetic(t, filepath.Join(dir, "model.safetensors"), component, clip.VisionShapes(c))
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
		writeSynthetic(t, filepath.Join(dir, "sdxl_models", name+".safetensors"), name, ipadapter.Shapes(c))
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

// TestIPAdapterErrors has what can't be done, by the name of the field.
func TestIPAdapterErrors(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	path := filepath.Join(dir, "sdxl_models", "base.safetensors")
	encoder := filepath.Join(dir, "models", "image_encoder")
	other := writeEncoder(t, filepath.Join(dir, "other"), "encoder-b", strings.Replace(ipEncoderConfig, `"projection_dim": 48`, `"projection_dim": 40`, 1))
	faceID := filepath.Join(dir, "faceid.safetensors")
	writeSynthetic(t, faceID, "faceid", map[string][]int{"image_proj.norm.weight": {4}, "image_proj.proj.0.weight": {8, 512}, "ip_adapter.1.to_k_ip.weight": {4, 4}})
	wide := filepath.Join(dir, "wide.safetensors")
	c := ipConfigs["base"]
	c.Context = 96
	writeSynthetic(t, wide, "wide", ipadapter.Shapes(c))
	few := filepath.Join(dir, "few.safetensors")
	c = ipConfigs["base"]
	c.Layers = c.Layers[:3]
	writeSynthetic(t, few, "few", ipadapter.Shapes(c))
	cut := filepath.Join(dir, "cut.safetensors")
	data, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(cut, data[:len(data)/2], 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	one := []image.Image{gradient(20, 30)}
	for _, test := range []struct {
		a    IPAdapter
		want []string
	}{
		{IPAdapter{Images: one}, []string{"ip_adapters[0].path"}},
		{IPAdapter{Path: path}, []string{"ip_adapters[0].images is 0 images: must be 1 to 64"}},
		{IPAdapter{Path: path, Images: []image.Image{nil}}, []string{"ip_adapters[0].images[0] is absent"}},
		{IPAdapter{Path: path, Images: []image.Image{gradient(2, 300)}}, []string{"ip_adapters[0].images[0] is 2×300", "100 times"}},
		{IPAdapter{Path: path, Images: slices.Repeat(one, 2), Mask: one[0]}, []string{"ip_adapters[0].mask"}},
		{IPAdapter{Path: path, Images: one, Scale: new(1.), Scales: BlockScales{}}, []string{"ip_adapters[0].scale is 1: must be absent"}},
		{IPAdapter{Path: path, Images: one, Scales: BlockScales{"left": 1.}}, []string{`ip_adapters[0].scales is with "left"`}},
		{IPAdapter{Path: path, Images: one, Scales: BlockScales{"down": "x"}}, []string{"ip_adapters[0].scales.down is x"}},
		{IPAdapter{Path: path, Images: one, Scales: BlockScales{"down": map[string]any{"block_0": 1.}}}, []string{"scales.down.block_0", "no attention"}},
		{IPAdapter{Path: path, Images: one, Scales: BlockScales{"down": map[string]any{"block_9": 1.}}}, []string{`with "block_9"`}},
		{IPAdapter{Path: path, Images: one, Scales: BlockScales{"up": map[string]any{"block_0": []any{1., 2.}}}}, []string{"scales.up.block_0", "a list of 3"}},
		{IPAdapter{Path: filepath.Join(dir, "none.bin"), Images: one, Encoder: encoder}, []string{"ip_adapters.path", "none.bin"}},
		{IPAdapter{Path: cut, Images: one, Encoder: encoder}, []string{"ip_adapters.path", "cut.safetensors"}},
		{IPAdapter{Path: faceID, Images: one, Encoder: encoder}, []string{"FaceID"}},
		{IPAdapter{Path: wide, Images: one, Encoder: encoder}, []string{"width 96: must be 80"}},
		{IPAdapter{Path: few, Images: one, Encoder: encoder}, []string{"3 cross-attentions: must be for 17"}},
		{IPAdapter{Path: path, Images: one, Encoder: other}, []string{"ip_adapters.encoder", "width 40: must be 48"}},
		{IPAdapter{Path: path, Images: one, Encoder: dir}, []string{"ip_adapters.encoder", "config.json"}},
		{IPAdapter{Path: faceID + "x", Images: one}, []string{"faceid.safetensorsx"}},
	} {
		r := small()
		r.IPAdapters = []IPAdapter{test.a}
		_, err := m.Generate(t.Context(), r)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: error %v, want one with %q", test.a, err, want)
			}
		}
	}
	// Without an encoder the one beside the adapter is found; where there is none, the error says where it was looked for.
	r := small()
	r.LatentsOnly = true
	r.IPAdapters = []IPAdapter{{Path: path, Images: one}}
	if _, err := m.Generate(t.Context(), r); err != nil {
		t.Error(err)
	}
	lone := filepath.Join(t.TempDir(), "base.safetensors")
	if err := os.Rename(path, lone); err != nil {
		t.Fatal(err)
	}
	r.IPAdapters[0].Path = lone
	if _, err := m.Generate(t.Context(), r); err == nil || !strings.Contains(err.Error(), "image_encoder") {
		t.Errorf("error %v", err)
	}
}

// TestIPAdapterMasks holds masks against diffusers' IPAdapterMaskProcessor.
func TestIPAdapterMasks(t *testing.T) {
	g := golden.Open(t, testdata+"/goldens/ip_adapter.safetensors")
	for _, c := range []struct {
		mask string
		size Size
	}{{"left", Size{40, 48}}, {"dots", Size{40, 48}}, {"dots", Size{72, 40}}, {"left", Size{56, 104}}} {
		h, w := c.size.Height/8, c.size.Width/8
		for _, queries := range []int{h * w, positions(h, w, 1), 7} {
			name := fmt.Sprintf("masked/%s/%d/%d/%d", c.mask, c.size.Height, c.size.Width, queries)
			want, _ := g.Floats(name)
			got := downsampleMask(binaryMask(promptImage(g, "mask/"+c.mask), c.size), c.size, queries)
			golden.Near(t, name, got, want, 1e-5)
		}
	}
}

// TestIPAdapterFiles keeps files open up to the budget, notices that one has changed, and reads what torch.save wrote.
func TestIPAdapterFiles(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	m.images.budget = 1
	path := func(name string) string { return filepath.Join(dir, "sdxl_models", name+".safetensors") }
	generate := func(name string) []float32 {
		t.Helper()
		r := small()
		r.LatentsOnly = true
		r.IPAdapters = []IPAdapter{{Path: path(name), Images: []image.Image{gradient(20, 30)}}}
		result, err := m.Generate(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return result.Latents.Data
	}
	base := generate("base")
	if len(m.images.open) != 2 {
		t.Errorf("%d files are open, want those of the request", len(m.images.open))
	}
	generate("plus")
	if len(m.images.open) != 2 {
		t.Errorf("%d files are open, want those of the last request", len(m.images.open))
	}
	if !slices.Equal(generate("base"), base) {
		t.Error("an adapter that was closed gives something else")
	}
	writeSynthetic(t, path("base"), "another", ipadapter.Shapes(ipConfigs["base"]))
	if slices.Equal(generate("base"), base) {
		t.Error("a file that has changed is not read again")
	}
}
