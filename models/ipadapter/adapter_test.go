package ipadapter_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/ipadapter"
	"github.com/goxl/goxl/nn/weights"
)

// The adapters of tools/reference/ip_adapter.py.
var (
	layers  = []int{32, 32, 48, 48, 48, 48, 48, 48, 48, 48, 48, 48, 32, 32, 32, 48, 48}
	configs = map[string]ipadapter.Config{
		"base": {Width: 48, Tokens: 4, Context: 80, Layers: layers},
		"plus": {Plus: true, Width: 64, Tokens: 6, Context: 80, Hidden: 96, Depth: 4, Heads: 2, Intermediate: 384, Layers: layers},
	}
)

func file(name string) kernels.Source {
	return weights.Synthetic(name, ipadapter.Shapes(configs[name]), kernels.F32)
}

// TestProject holds keys and values against diffusers' MultiIPAdapterImageProjection and to_k_ip, to_v_ip.
func TestProject(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	g := golden.Open(t, "../../testdata/goldens/ip_adapter.safetensors")
	for name, c := range configs {
		src := file(name)
		detected, err := ipadapter.Detect(src)
		if err != nil || fmt.Sprint(detected) != fmt.Sprint(c) {
			t.Fatalf("%s is detected as %+v, %v, want %+v", name, detected, err, c)
		}
		a, err := ipadapter.Open(dev, src, detected, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		states := "encoder-a/embeds"
		if c.Plus {
			states = "encoder-a/hidden"
		}
		x, _ := g.Floats(states)
		got, err := a.Project(t.Context(), [][]float32{x})
		if err != nil {
			t.Fatal(err)
		}
		var k, v []float32
		for _, kv := range got {
			k, v = append(k, kv.K...), append(v, kv.V...)
		}
		want, _ := g.Floats(name + "/k")
		golden.Near(t, name+" keys", k, want, 1e-5)
		want, _ = g.Floats(name + "/v")
		golden.Near(t, name+" values", v, want, 1e-5)
		// Several images follow one another.
		twice, err := a.Project(t.Context(), [][]float32{make([]float32, len(x)), x})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got[0].K); len(twice[0].K) != 2*n || !slices.Equal(twice[0].K[n:], got[0].K) || slices.Equal(twice[0].K[:n], got[0].K) {
			t.Errorf("%s: the keys of two images are not those of each", name)
		}
		if _, err := a.Project(t.Context(), [][]float32{x[1:]}); err == nil || !strings.Contains(err.Error(), "must be of width") {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestDetect names what is no adapter of SDXL's, and what a file lacks.
func TestDetect(t *testing.T) {
	for _, c := range []struct {
		tensors map[string][]int
		want    string
	}{
		{map[string][]int{"image_proj.norm.weight": {4}, "image_proj.proj.0.weight": {1024, 512}, "image_proj.proj.2.weight": {8, 1024}}, "FaceID,"},
		{map[string][]int{"image_proj.perceiver_resampler.proj_in.weight": {4, 4}, "image_proj.norm.weight": {4}, "image_proj.proj.0.weight": {1024, 512}}, "FaceID plus"},
		{map[string][]int{"image_proj.proj.0.weight": {4, 4}, "image_proj.proj.3.weight": {4}}, "full face"},
		{map[string][]int{"conv_in.weight": {4}}, "no image_proj.proj.weight"},
		{map[string][]int{"image_proj.proj.weight": {7, 3}}, "multiple of 4"},
		{map[string][]int{"image_proj.proj.weight": {8, 3}}, "no ip_adapter.1.to_k_ip.weight"},
		{map[string][]int{"image_proj.latents": {1, 16, 1280}}, "a resampler with latents"},
	} {
		_, err := ipadapter.Detect(weights.Synthetic("x", c.tensors, kernels.F32))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

// TestDamaged opens files that lack a tensor, or have one of another shape.
func TestDamaged(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	for _, damage := range []struct {
		name, tensor string
		shape        []int
		want         string
	}{
		{"base", "image_proj.norm.bias", nil, "image_proj.norm.bias"},
		{"base", "image_proj.proj.bias", []int{318}, "multiple of 4"},
		{"base", "ip_adapter.3.to_v_ip.weight", nil, "ip_adapter.1.to_v_ip.weight"},
		{"plus", "image_proj.layers.1.0.to_kv.weight", []int{255, 96}, "multiple of 2"},
		{"plus", "image_proj.layers.1.0.to_kv.weight", []int{128, 96}, "to_k.weight"},
		{"plus", "ip_adapter.33.to_k_ip.weight", []int{48, 81}, "ip_adapter.16.to_k_ip.weight"},
	} {
		shapes := ipadapter.Shapes(configs[damage.name])
		if delete(shapes, damage.tensor); damage.shape != nil {
			shapes[damage.tensor] = damage.shape
		}
		a, err := ipadapter.Open(dev, weights.Synthetic("x", shapes, kernels.F32), configs[damage.name], kernels.Options{})
		if err == nil {
			a.Close()
		}
		if err == nil || !strings.Contains(err.Error(), damage.want) {
			t.Errorf("%s of %v: error %v, want one with %q", damage.tensor, damage.shape, err, damage.want)
		}
	}
}

// TestPickle reads an adapter that torch.save wrote, as h94/IP-Adapter has them beside safetensors files.
func TestPickle(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	file, err := weights.OpenComponent("../../testdata/ip_adapter.bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	c, err := ipadapter.Detect(file)
	if want := (ipadapter.Config{Width: 12, Tokens: 4, Context: 8, Layers: []int{8, 16}}); err != nil || fmt.Sprint(c) != fmt.Sprint(want) {
		t.Fatalf("detected as %+v, %v, want %+v", c, err, want)
	}
	var got [2][]ipadapter.KV
	for i, src := range []kernels.Source{file, weights.Synthetic("bin", ipadapter.Shapes(c), kernels.F16)} {
		a, err := ipadapter.Open(dev, src, c, kernels.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		if got[i], err = a.Project(t.Context(), [][]float32{{1, -1, 2, 0, 0.5, 3, 1, 1, -2, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	for l, kv := range got[0] {
		if !slices.Equal(kv.K, got[1][l].K) || !slices.Equal(kv.V, got[1][l].V) {
			t.Errorf("keys and values of layer %d are not those of the same tensors", l)
		}
	}
}
