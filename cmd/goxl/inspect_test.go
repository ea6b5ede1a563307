package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// synthesised writes a tiny model into a new folder.
func synthesised(t *testing.T, kind string, more ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), kind)
	if a := must(t, append([]string{"synth", "-size", "tiny", "-kind", kind, "-o", dir}, more...)...); a.out != dir+"\n" {
		t.Errorf("synth wrote %q", a.out)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestSynth writes models, looks at them and draws with them.
func TestSynth(t *testing.T) {
	base, refiner, half := synthesised(t, "base"), synthesised(t, "refiner"), synthesised(t, "base", "-dtype", "fp16")
	for path, want := range map[string][]string{
		base:         {"an SDXL base model folder", "default size  64x64", "EulerDiscreteScheduler", "goxl generate", "text_encoder_2", "CLIPTextModelWithProjection", "UNet2DConditionModel", "AutoencoderKL", "F32", "MB"},
		refiner:      {"an SDXL refiner model folder", "goxl refine"},
		half:         {"F16"},
		"synth:tiny": {"a synthetic model, with random", "64x64"},
	} {
		a := must(t, "inspect", path)
		for _, w := range want {
			if !strings.Contains(a.out, w) {
				t.Errorf("inspect %s does not say %q:\n%s", path, w, a.out)
			}
		}
		if strings.Contains(a.out, "problems") || a.err != "" {
			t.Errorf("inspect %s:\n%s%s", path, a.out, a.err)
		}
	}
	a, b := t.TempDir(), t.TempDir()
	must(t, tiny(a)...)
	must(t, tiny(b, "-model", base)...)
	if string(pixels(t, filepath.Join(a, "out.png"))) != string(pixels(t, filepath.Join(b, "out.png"))) {
		t.Error("synth:tiny and its folder draw different images")
	}
	must(t, tiny(b, "-model", base, "-refiner", refiner, "-steps", "5")...)
}

// TestBrokenFolder breaks a model in every part at once: inspect has to find all.
func TestBrokenFolder(t *testing.T) {
	dir := synthesised(t, "base")
	unetFile := filepath.Join(dir, "unet", "diffusion_pytorch_model.safetensors")
	src, err := weights.Open(unetFile)
	if err != nil {
		t.Fatal(err)
	}
	all, err := weights.Tensors(src)
	if err != nil {
		t.Fatal(err)
	}
	kept := []weights.Tensor{weights.NewTensor("extra.weight", kernels.F32, []int{1}, make([]byte, 4))}
	for _, x := range all {
		switch x.Name {
		case "conv_in.bias", "conv_out.bias":
		case "time_embedding.linear_1.bias":
			kept = append(kept, weights.NewTensor(x.Name, kernels.F32, []int{3}, make([]byte, 12)))
		default:
			kept = append(kept, x)
		}
	}
	if err := weights.Write(unetFile, kept, nil); err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	encoder := filepath.Join(dir, "text_encoder")
	if err := os.Rename(filepath.Join(encoder, "model.safetensors"), filepath.Join(encoder, "tf_model.h5")); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "text_encoder_2", "config.json")
	write(t, config, strings.Replace(string(read(t, config)), `"hidden_act": "gelu"`, `"hidden_wish": 1, "hidden_act": "relu"`, 1))
	if err := os.RemoveAll(filepath.Join(dir, "vae")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "scheduler", "scheduler_config.json"), `{"_class_name": "CrystalBall"}`)
	write(t, filepath.Join(dir, "tokenizer_2", "tokenizer.json"), "{")
	if err := os.Remove(filepath.Join(dir, "tokenizer", "tokenizer.json")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "tokenizer", "tokenizer_config.json"), `{"model_max_length": "long"}`)

	a := goxl(t, "inspect", dir)
	for _, w := range []string{
		"unet: missing tensor conv_in.bias [", "unet: missing tensor conv_out.bias [", "unet: wrong tensor time_embedding.linear_1.bias [3], want [", "unet: unknown tensor extra.weight",
		"text_encoder: no weights; allowed: model[.variant].safetensors", "hidden_wish", `"hidden_act" is relu`, "vae is missing", "CrystalBall", "tokenizer_2", "model_max_length",
	} {
		if !strings.Contains(a.out, w) {
			t.Errorf("inspect does not say %q:\n%s", w, a.out)
		}
	}
	if a.status != 1 || !strings.Contains(a.err, "10 problems") {
		t.Errorf("status %d, said %q, want 1 and 10 problems:\n%s", a.status, a.err, a.out)
	}
}

func TestInspectRefinerThatBorrows(t *testing.T) {
	dir := synthesised(t, "refiner")
	if err := os.RemoveAll(filepath.Join(dir, "vae")); err != nil {
		t.Fatal(err)
	}
	if a := must(t, "inspect", dir); !strings.Contains(a.out, "vae is not here: use the refiner with a base model") {
		t.Errorf("inspect says\n%s", a.out)
	}
	must(t, tiny(t.TempDir(), "-refiner", dir, "-steps", "5")...)
}

// TestInspectFindsNaN has one weight of a model that is not a number: in a layer, in a row of the token embeddings that
// few prompts read, in the half of the VAE that drawing from text does not use, and in a refiner that cannot be opened
// by itself.
func TestInspectFindsNaN(t *testing.T) {
	for _, c := range []struct {
		kind, file, tensor, without string
		at                          int
	}{
		{"base", "unet/diffusion_pytorch_model.safetensors", "mid_block.resnets.0.conv1.weight", "", 5},
		{"base", "text_encoder/model.safetensors", "text_model.embeddings.token_embedding.weight", "", -3},
		{"base", "vae/diffusion_pytorch_model.safetensors", "encoder.conv_in.weight", "", 0},
		{"refiner", "vae/diffusion_pytorch_model.safetensors", "decoder.conv_in.weight", "", 0},
		{"refiner", "unet/diffusion_pytorch_model.safetensors", "conv_in.weight", "vae", 0},
	} {
		m := newMutant(t, synthesised(t, c.kind), 0)
		tensors := m.tensors(c.file)
		x := tensors[c.tensor]
		data, err := x.Data()
		if err != nil {
			t.Fatal(err)
		}
		binary.LittleEndian.PutUint32(data[(4*c.at+len(data))%len(data):], math.Float32bits(float32(math.NaN())))
		m.writeTensors(c.file, tensors)
		if c.without != "" {
			if err := os.RemoveAll(filepath.Join(m.dir, c.without)); err != nil {
				t.Fatal(err)
			}
		}
		a := goxl(t, "inspect", m.dir)
		if a.status != 1 || !strings.Contains(a.out, "NaN or Inf") || !strings.Contains(a.out, c.tensor) {
			t.Errorf("%+v: status %d\n%s", c, a.status, a.out)
		}
	}
}

// TestInspectNotes looks at a model that draws, and has notes.
func TestInspectNotes(t *testing.T) {
	m := newMutant(t, synthesised(t, "base"), 0)
	tensors := m.tensors("text_encoder/model.safetensors")
	tensors["logit_scale"] = tensors["text_model.final_layer_norm.bias"]
	m.writeTensors("text_encoder/model.safetensors", tensors)
	m.write("goxl.json", []byte(`{"num_inference_steps": 5000}`))
	a := must(t, "inspect", m.dir)
	for _, want := range []string{"not used (component text_encoder, count 1, tensors logit_scale)", "its defaults need a flag: num_inference_steps is 5000", "goxl generate"} {
		if !strings.Contains(a.out, want) {
			t.Errorf("inspect does not say %q:\n%s", want, a.out)
		}
	}
}

// TestInspectCancelled is stopped while it tries a model.
func TestInspectCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if a := goxlWith(ctx, "inspect", synthesised(t, "base")); a.status == 0 || strings.Contains(a.out, "problem") {
		t.Errorf("status %d, said %s%s", a.status, a.out, a.err)
	}
}

// TestInspectHubCacheEntry looks at a model by the hub cache entry that holds it.
func TestInspectHubCacheEntry(t *testing.T) {
	entry := filepath.Join(t.TempDir(), "models--org--tiny")
	write(t, filepath.Join(entry, "refs", "main"), "0123abcd\n")
	snapshot := filepath.Join(entry, "snapshots", "0123abcd")
	if err := os.MkdirAll(filepath.Dir(snapshot), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(synthesised(t, "base"), snapshot); err != nil {
		t.Fatal(err)
	}
	if a := must(t, "inspect", entry); !strings.Contains(a.out, "an SDXL base model folder") || !strings.Contains(a.out, snapshot) {
		t.Errorf("inspect says\n%s", a.out)
	}
}

func TestInspectOthers(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	write(t, filepath.Join(old, "model_index.json"), `{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}`)
	spoiled := filepath.Join(dir, "spoiled.safetensors")
	if err := weights.Write(spoiled, []weights.Tensor{weights.NewTensor("unet.x.lora_A.weight", kernels.F16, []int{1, 1}, []byte{0xff, 0x7f})}, nil); err != nil {
		t.Fatal(err)
	}
	if a := goxl(t, "inspect", spoiled); a.status != 1 || !strings.Contains(a.out, "tensor unet.x.lora_A.weight holds NaN or Inf") {
		t.Errorf("a LoRA with NaN: status %d\n%s", a.status, a.out)
	}
	lora := filepath.Join(dir, "lora.safetensors")
	if err := weights.Write(lora, []weights.Tensor{weights.NewTensor("unet.x.lora_A.weight", kernels.F16, []int{4, 8}, make([]byte, 64))}, nil); err != nil {
		t.Fatal(err)
	}
	control := filepath.Join(dir, "control.safetensors")
	if err := weights.Write(control, []weights.Tensor{weights.NewTensor("controlnet_cond_embedding.x", kernels.F32, []int{2}, make([]byte, 8))}, nil); err != nil {
		t.Fatal(err)
	}
	pickle := filepath.Join(dir, "model.ckpt")
	write(t, pickle, "\x80\x02}q\x00.")
	damaged := filepath.Join(dir, "damaged.safetensors")
	write(t, damaged, "\xff\xff\xff\xff\xff\xff\xff\x7f{")
	index := filepath.Join(dir, "index")
	write(t, filepath.Join(index, "model_index.json"), "[1")
	component := filepath.Join(synthesised(t, "base"), "vae")
	for path, want := range map[string][]string{
		old:         {"Stable Diffusion 1 or 2 model folder", "goxl runs SDXL"},
		control:     {"a ControlNet component", "F32", "not a ControlNet's", "-control, with a -control-image"},
		pickle:      {"damaged", "a pickle that torch.save did not write"},
		damaged:     {"damaged", "header"},
		index:       {"damaged", "model_index.json"},
		dir:         {"a folder around the file"},
		t.TempDir(): {"an empty folder"},
	} {
		a := goxl(t, "inspect", path)
		for _, w := range want {
			if !strings.Contains(a.out, w) {
				t.Errorf("inspect %s does not say %q:\n%s", path, w, a.out)
			}
		}
		if a.status != 1 || !strings.Contains(a.err, "problem") {
			t.Errorf("inspect %s: status %d, said %q", path, a.status, a.err)
		}
	}
	for path, want := range map[string][]string{
		lora:      {"a LoRA adapter (PEFT names)", "F16", "flag          -lora"},
		component: {"a VAE component (AutoencoderKL)", "248", "flag          -vae"},
	} {
		a := must(t, "inspect", path)
		for _, w := range want {
			if !strings.Contains(a.out, w) {
				t.Errorf("inspect %s does not say %q:\n%s", path, w, a.out)
			}
		}
	}
}

// TestInspectShards: the index of a component's shards is what they are together, with the shards.
func TestInspectShards(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"decoder.conv_in.weight", "decoder.conv_out.weight"} {
		file := filepath.Join(dir, fmt.Sprintf("vae-%05d-of-00002.safetensors", i+1))
		if err := weights.Write(file, []weights.Tensor{weights.NewTensor(name, kernels.F16, []int{2}, make([]byte, 4))}, nil); err != nil {
			t.Fatal(err)
		}
	}
	index := filepath.Join(dir, "vae.safetensors.index.json")
	write(t, index, `{"weight_map": {"decoder.conv_in.weight": "vae-00001-of-00002.safetensors", "decoder.conv_out.weight": "vae-00002-of-00002.safetensors"}}`)
	a := must(t, "inspect", index)
	for _, w := range []string{"a VAE component (2 shards by their index)", "shard         vae-00001-of-00002.safetensors, 1 tensor\n", "vae-00002-of-00002", "flag          -vae", "vae.safetensors.index.json (2 shards)"} {
		if !strings.Contains(a.out, w) {
			t.Errorf("inspect of an index does not say %q:\n%s", w, a.out)
		}
	}
}

// TestInspectSingleFile writes checkpoints in one file, looks at them and draws with one.
func TestInspectSingleFile(t *testing.T) {
	dir := t.TempDir()
	for kind, want := range map[string][]string{
		"base":    {"an SDXL base single-file checkpoint", "flag          -model", "prediction    noise", "default size  64x64", "text_encoder_2", "vae", "F16", "goxl generate"},
		"refiner": {"an SDXL refiner single-file checkpoint", "goxl refine"},
	} {
		file := filepath.Join(dir, kind+".safetensors")
		if a := must(t, "synth", "-size", "tiny", "-kind", kind, "-dtype", "fp16", "-single", "-o", file); a.out != file+"\n" {
			t.Errorf("synth wrote %q", a.out)
		}
		a := must(t, "inspect", file)
		for _, w := range want {
			if !strings.Contains(a.out, w) {
				t.Errorf("inspect %s does not say %q:\n%s", kind, w, a.out)
			}
		}
		if strings.Contains(a.out, "problems") || strings.Contains(a.out, "notes") || a.err != "" {
			t.Errorf("inspect %s:\n%s%s", kind, a.out, a.err)
		}
	}
	must(t, tiny(t.TempDir(), "-model", filepath.Join(dir, "base.safetensors"), "-refiner", filepath.Join(dir, "refiner.safetensors"), "-steps", "5")...)
}
