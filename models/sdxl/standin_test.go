package sdxl

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestStandIns puts a Git LFS pointer, then a web page, in place of every file of a model in turn.
func TestStandIns(t *testing.T) {
	dev := newModels(t).dev
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	write := func(file string, content []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(dir, "goxl.json"), []byte("{}"))
	for content, want := range map[string][]string{
		"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 17\n": {"a Git LFS pointer to 17 bytes", "git lfs pull"},
		"<!DOCTYPE html>\n<html><body>401</body></html>\n":                     {"an HTML page", "download the file itself"},
	} {
		for _, name := range []string{
			"model_index.json", "goxl.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
			"text_encoder_2/config.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
			"vae/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json", "tokenizer_2/tokenizer_config.json",
		} {
			file := filepath.Join(dir, filepath.FromSlash(name))
			old, missing := os.ReadFile(file)
			write(file, []byte(content))
			p, err := Open(t.Context(), dir, Options{Host: hostOf(dev)})
			for _, w := range append(want, name) {
				if err == nil || !strings.Contains(filepath.ToSlash(err.Error()), w) {
					t.Errorf("%s: error %v, want %q", name, err, w)
				}
			}
			if p != nil {
				p.Close()
			}
			if missing != nil {
				os.RemoveAll(file)
			} else {
				write(file, old)
			}
		}
	}
	p, err := Open(t.Context(), dir, Options{Host: hostOf(dev)})
	if err != nil {
		t.Fatalf("with every file as it was: %v", err)
	}
	p.Close()
}

// TestHubCacheEntry opens a model by the hub cache entry that holds it.
func TestHubCacheEntry(t *testing.T) {
	entry := filepath.Join(t.TempDir(), "models--org--tiny")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, filepath.Join(entry, "snapshots", "0123abcd")); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(entry, "refs"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(entry, "refs", "main"), []byte("0123abcd"), 0o644); err != nil {
		t.Fatal(err)
	}
	dev := newModels(t).dev
	p, err := Open(t.Context(), entry, Options{Host: hostOf(dev)})
	if err != nil {
		t.Fatal(err)
	}
	if p.Info().Path != entry {
		t.Errorf("the model is called %s", p.Info().Path)
	}
	p.Close()
	if err := os.Remove(filepath.Join(entry, "snapshots", "0123abcd", "vae", "config.json")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), entry, Options{Host: hostOf(dev)}); err == nil || !strings.Contains(err.Error(), filepath.Join("snapshots", "0123abcd", "vae")) {
		t.Errorf("error %v", err)
	}
}
