package sdxl

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/lora"
)

// TestCheckLoRAs: what is wrong with an adapter's file is found by the configurations alone, which know the tensors that
// the weights have.
func TestCheckLoRAs(t *testing.T) {
	models := newModels(t)
	for _, name := range []string{"tiny", "tiny-refiner"} {
		m := models.open(name)
		sources := map[string]kernels.Source{}
		for component, n := range m.adaptable() {
			sources[component] = n.Source()
		}
		want, err := lora.TargetsOf(sources)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, m.Spec().adapterTargets()); diff != "" {
			t.Errorf("%s: targets by the weights, by the configurations:\n%s", name, diff)
		}
	}
	m := models.open("tiny")
	good, dir := adapterFile(t, m, "good", 50, true), t.TempDir()
	file := func(name string, tensors ...weights.Tensor) string {
		t.Helper()
		path := filepath.Join(dir, name+".safetensors")
		if err := weights.Write(path, tensors, nil); err != nil {
			t.Fatal(err)
		}
		return path
	}
	vectors := func(name string, n, width int) weights.Tensor {
		return weights.NewTensor(name, kernels.F32, []int{n, width}, make([]byte, 4*n*width))
	}
	f, err := weights.Open(good.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tensors, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "broken.safetensors")
	if err := os.WriteFile(broken, []byte("no tensors"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, says string }{
		{filepath.Join(dir, "none.safetensors"), "no such file"}, {broken, "too short|text"}, {dir, "folder"},
		{file("embedding", vectors("clip_l", 1, 32), vectors("clip_g", 1, 48)), "give it with -embedding"},
		{file("other", vectors("lora_unet_no_such_module.lora_down.weight", 2, 4), vectors("lora_unet_no_such_module.lora_up.weight", 4, 2)), "nothing in it fits"},
		{file("half", append(tensors, vectors("bundle_emb.thing.clip_g", 1, 48))...), "without vectors for text_encoder (clip_l)"},
		{file("wide", append(tensors, vectors("bundle_emb.thing.clip_g", 1, 49))...), "vectors of 49 numbers"},
	} {
		err := m.Spec().CheckLoRAs(adapted(good, LoRA{c.path, lora.Strength(1)}))
		var bad *RequestError
		if !errors.As(err, &bad) || !slices.ContainsFunc(strings.Split(c.says, "|"), func(w string) bool { return strings.Contains(err.Error(), w) }) {
			t.Errorf("%s: %v, want %q", c.path, err, c.says)
		}
		_, late := m.Generate(t.Context(), adapted(good, LoRA{c.path, lora.Strength(1)}))
		if late == nil || err == nil || late.Error() != err.Error() {
			t.Errorf("%s: Generate says %v, CheckLoRAs %v", c.path, late, err)
		}
	}
	tagged := with(func(r *Request) { r.Prompt, r.LoRADir = "a <lora:broken:1>", dir })
	if err := m.Spec().CheckLoRAs(tagged); err == nil || !strings.Contains(err.Error(), broken) {
		t.Errorf("an adapter that the prompt names: %v", err)
	}
	if err := errors.Join(m.Spec().CheckLoRAs(adapted(good)), m.Spec().CheckLoRAs(adapted())); err != nil {
		t.Error(err)
	}
}

// TestCheckLoRAsOfMany: configurations that no weights bear out take no memory.
func TestCheckLoRAsOfMany(t *testing.T) {
	base, _ := specsOf(t)
	if n := base.blocks(); n < 4 || n > maxBlocks/2 {
		t.Errorf("%d blocks", n)
	}
	const many = 1 << 40
	for what, change := range map[string]func(s *Spec){
		"encoder layers":     func(s *Spec) { s.TextEncoder2.Layers = many },
		"layers":             func(s *Spec) { s.UNet.LayersPerBlock = unet.PerLevel{many} },
		"transformer layers": func(s *Spec) { s.UNet.TransformerLayers = unet.Depths{{1, many}} },
		"on the way up": func(s *Spec) {
			s.UNet.ReverseLayers = slices.Repeat([]unet.PerLevel{{many}}, len(s.UNet.BlockOutChannels))
		},
	} {
		s := *base
		change(&s)
		if err := s.CheckLoRAs(adapted(LoRA{"none.safetensors", lora.Strength(1)})); err != nil || s.blocks() <= maxBlocks {
			t.Errorf("%s: %d blocks, %v", what, s.blocks(), err)
		}
	}
}
