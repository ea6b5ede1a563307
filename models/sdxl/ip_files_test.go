package sdxl

import (
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/ipadapter"
)

// TestIPAdapterErrors has what can't be done, by the name of the field.
func TestIPAdapterErrors(t *testing.T) {
	t.Parallel()
	m, dir := newModels(t).open("tiny"), ipFiles(t)
	path := filepath.Join(dir, "sdxl_models", "base.safetensors")
	encoder := filepath.Join(dir, "models", "image_encoder")
	other := writeEncoder(t, filepath.Join(dir, "other"), "encoder-b", strings.Replace(ipEncoderConfig, `"projection_dim": 48`, `"projection_dim": 40`, 1))
	faceID := filepath.Join(dir, "faceid.safetensors")
	writeTensors(t, faceID, "faceid", map[string][]int{"image_proj.norm.weight": {4}, "image_proj.proj.0.weight": {8, 512}, "ip_adapter.1.to_k_ip.weight": {4, 4}})
	wide := filepath.Join(dir, "wide.safetensors")
	c := ipConfigs["base"]
	c.Context = 96
	writeTensors(t, wide, "wide", ipadapter.Shapes(c))
	few := filepath.Join(dir, "few.safetensors")
	c = ipConfigs["base"]
	c.Layers = c.Layers[:3]
	writeTensors(t, few, "few", ipadapter.Shapes(c))
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
	first := m.images.open
	for _, c := range first {
		if !m.host.manages(c.network) {
			t.Errorf("%s: not under the host's planner", c.key)
		}
	}
	generate("plus")
	for _, c := range first {
		if open := slices.Contains(m.images.open, c); m.host.manages(c.network) != open {
			t.Errorf("%s: open %v, but not so for the planner", c.key, open)
		}
	}
	if len(m.images.open) != 2 {
		t.Errorf("%d files are open, want those of the last request", len(m.images.open))
	}
	if !slices.Equal(generate("base"), base) {
		t.Error("an adapter that was closed gives something else")
	}
	writeTensors(t, path("base"), "another", ipadapter.Shapes(ipConfigs["base"]))
	if slices.Equal(generate("base"), base) {
		t.Error("a file that has changed is not read again")
	}
}

// TestSynthesiseIPAdapters writes IP-Adapters and encoders for the tiny model: each finds its own encoder, and the
// refiner of an ensemble goes without.
func TestSynthesiseIPAdapters(t *testing.T) {
	t.Parallel()
	models := newModels(t)
	base, refiner := models.open("tiny"), models.open("tiny-refiner")
	dir := filepath.Join(t.TempDir(), "adapters")
	if err := SynthesiseIPAdapters(t.Context(), true, kernels.F16, dir); err != nil {
		t.Fatal(err)
	}
	if err := SynthesiseIPAdapters(t.Context(), true, kernels.F16, dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("error %v", err)
	}
	r := small()
	r.LatentsOnly, r.Steps = true, 5
	var seen [][]float32
	for _, name := range []string{"", "ip-adapter_sdxl", "ip-adapter_sdxl_vit-h", "ip-adapter-plus_sdxl_vit-h"} {
		r.IPAdapters = nil
		if name != "" {
			r.IPAdapters = []IPAdapter{{Path: filepath.Join(dir, "sdxl_models", name+".safetensors"), Images: []image.Image{gradient(30, 20)}}}
		}
		result, err := Ensemble(t.Context(), r, Expert{Model: base, DenoisingEnd: 0.6}, Expert{Model: refiner})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(result.Parameters.IPAdapters) != len(r.IPAdapters) {
			t.Errorf("%s: parameters have %+v", name, result.Parameters.IPAdapters)
		}
		for _, other := range seen {
			if slices.Equal(result.Latents.Data, other) {
				t.Errorf("%s changes nothing", name)
			}
		}
		seen = append(seen, result.Latents.Data)
	}
}
