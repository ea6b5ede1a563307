package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// TestPromptFiles makes a batch of a prompt and a seed a line, and says what is wrong with a file.
func TestPromptFiles(t *testing.T) {
	dir := t.TempDir()
	file, out := filepath.Join(dir, "prompts.txt"), filepath.Join(dir, "out.png")
	args := []string{"generate", "-device", "cpu", "-model", "synth:tiny", "-steps", "2", "-quiet", "-prompts", file, "-o", out}
	write(t, file, "\ufeffa red apple\r\n\r\na blue car\r\n")
	must(t, append(args, "-seed", "5,6,7")...)
	for i, prompt := range []string{"a red apple", "", "a blue car"} {
		got := texts(t, filepath.Join(dir, fmt.Sprintf("out-%d.png", i)))
		if got["prompt"] != prompt || got["seed"] != fmt.Sprint(5+i) {
			t.Errorf("image %d has prompt %q and seed %s, want %q and %d", i, got["prompt"], got["seed"], prompt, 5+i)
		}
	}
	for content, want := range map[string]string{
		"": "is empty: must have 1 to 64 lines", "\n": "is empty", strings.Repeat("x\n", 65): "has 65 lines: must have 1 to 64", "\xff": "must be UTF-8 text",
	} {
		write(t, file, content)
		if a := goxl(t, args...); a.status != 2 || !strings.Contains(a.err, "-prompts "+file+": "+want) {
			t.Errorf("%.9q: status %d, said %q, want 2 and %q", content, a.status, a.err, want)
		}
	}
}

// TestCutPrompts warns once of each text that is cut, and says which.
func TestCutPrompts(t *testing.T) {
	dir := t.TempDir()
	a := must(t, tiny(dir, "-prompt", strings.Repeat("word ", 100), "-negative", strings.Repeat("fog ", 100))...)
	for _, want := range []string{"warning: the prompt was cut after 75 of ", "warning: the negative prompt was cut after 75 of "} {
		if strings.Count(a.err, want) != 1 {
			t.Errorf("said %q, want one %q", a.err, want)
		}
	}
}

// TestEndlessFiles reads no more of a device than a file may hold.
func TestEndlessFiles(t *testing.T) {
	if _, err := os.Stat("/dev/zero"); err != nil {
		t.Skip(err)
	}
	a := goxl(t, "generate", "-device", "cpu", "-model", "synth:tiny", "-prompts", "/dev/zero", "-o", filepath.Join(t.TempDir(), "out.png"))
	if want := "-prompts /dev/zero: more than 1 MiB"; a.status != 1 || !strings.Contains(a.err, want) {
		t.Errorf("status %d, said %q, want 1 and %q", a.status, a.err, want)
	}
}

// TestTensorFiles says what is wrong with tensors by the flag that named their file.
func TestTensorFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.safetensors")
	tensor := func(name string, shape ...int) weights.Tensor {
		n := 4
		for _, d := range shape {
			n *= d
		}
		return weights.NewTensor(name, kernels.F32, shape, make([]byte, n))
	}
	for _, c := range []struct {
		tensors []weights.Tensor
		args    string
		want    string
	}{
		{[]weights.Tensor{tensor("latents", 1, 3, 8, 8)}, "-prompt p -image-latents " + file, "-image-latents " + file + ": has shape [1 3 8 8]"},
		{[]weights.Tensor{tensor("latents", 2, 4, 8, 8)}, "-prompt p -image-latents " + file, "-n 1: must be a multiple of the 2 images given"},
		{[]weights.Tensor{tensor("prompt_embeds", 65, 1, 80), tensor("pooled_prompt_embeds", 65, 48)}, "-embeddings " + file, "-embeddings: prompt_embeds is a list of 65"},
		{[]weights.Tensor{tensor("prompt_embeds", 1, 77, 80), tensor("pooled_prompt_embeds", 1, 48)}, "-refiner synth:tiny-refiner -embeddings " + file, "must be absent where there is -refiner"},
	} {
		var content strings.Builder
		if err := weights.Encode(&content, c.tensors, nil); err != nil {
			t.Fatal(err)
		}
		write(t, file, content.String())
		args := append([]string{"generate", "-device", "cpu", "-model", "synth:tiny", "-steps", "2", "-o", filepath.Join(dir, "out.png")}, strings.Fields(c.args)...)
		if a := goxl(t, args...); a.status != 2 || !strings.Contains(a.err, c.want) {
			t.Errorf("%s: status %d, said %q, want 2 and %q", c.args, a.status, a.err, c.want)
		}
	}
}

// TestAdaptersFirst: what is wrong with an adapter is found before the model's weights are opened.
func TestAdaptersFirst(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "words.safetensors")
	if err := weights.Write(file, []weights.Tensor{weights.NewTensor("clip_g", kernels.F32, []int{1, 1280}, make([]byte, 4*1280))}, nil); err != nil {
		t.Fatal(err)
	}
	generate := []string{"generate", "-device", "cpu", "-model", "synth:tiny", "-steps", "2", "-prompt", "p", "-o", filepath.Join(dir, "out.png")}
	if a := must(t, generate...); !strings.Contains(a.err, "opened in") {
		t.Fatalf("said %q", a.err)
	}
	for _, args := range [][]string{{"-lora", file}, {"-lora-dir", dir, "-prompt", "p <lora:words:1>"}, {"-lora", file, "-refiner", "synth:tiny-refiner"}} {
		a := goxl(t, append(slices.Clone(generate), args...)...)
		if a.status != 2 || !strings.Contains(a.err, "give it with -embedding") || strings.Contains(a.err, "opened in") {
			t.Errorf("%q: status %d, said %q", args, a.status, a.err)
		}
	}
}
