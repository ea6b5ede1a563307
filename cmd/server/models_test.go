package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// -model is a path, or a name and a path; the first is the default.
func TestModelFlag(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "a=b")
	if err := os.Mkdir(odd, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  []string
		first entry
		more  []entry
	}{
		{nil, entry{"", "demo"}, nil},
		{[]string{"-model", "synth:tiny"}, entry{"", "synth:tiny"}, nil},
		{[]string{"-model", "x=a/b", "-model", "demo", "-model", "y=c=d"}, entry{"x", "a/b"}, []entry{{"", "demo"}, {"y", "c=d"}}},
		{[]string{"-model", odd}, entry{"", odd}, nil},
	} {
		m := parseModels(t, c.args)
		if m.first() != c.first || !slices.Equal(m.more, c.more) {
			t.Errorf("%q: %+v and %+v, want %+v and %+v", c.args, m.first(), m.more, c.first, c.more)
		}
		args, err := m.args("cuda:7") // by which a process of its own has the same
		if err != nil {
			t.Fatal(err)
		}
		if got := parseModels(t, args); got.first() != c.first || !slices.Equal(got.more, c.more) {
			t.Errorf("%q: the engine has %+v and %+v", c.args, got.first(), got.more)
		}
	}
	for _, text := range []string{"=a", "a="} {
		if err := (&modelFlag{}).Set(text); err == nil {
			t.Errorf("-model %s is taken", text)
		}
	}
	m := parseModels(t, []string{"-model", "demo", "-model", "synth:tiny", "-model", "synth:tiny"})
	if _, err := m.further(); err == nil || !strings.Contains(err.Error(), "there is a model synth:tiny already") {
		t.Errorf("%v", err)
	}
	m = parseModels(t, []string{"-model", "demo", "-model", "synth:tiny-refiner"})
	if _, err := m.further(); err == nil || !strings.Contains(err.Error(), "is a refiner") {
		t.Errorf("%v", err)
	}
}

// Folders and files below -models become models by their paths; others are left out, and the log says why.
func TestFindModels(t *testing.T) {
	root := t.TempDir()
	make := func(name, model string) {
		t.Helper()
		var err error
		if path := filepath.Join(root, name); strings.HasSuffix(name, ".safetensors") {
			if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
				err = sdxl.SynthesiseFile(t.Context(), model, kernels.F32, path)
			}
		} else {
			err = sdxl.Synthesise(t.Context(), model, kernels.F32, path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	make("b", "tiny")
	make("deep/er/file 1.0.safetensors", "tiny")
	make("refiner", "tiny-refiner")
	make(".hidden", "tiny")
	write("broken.safetensors", "{}")
	write("a=b.safetensors", "x")
	write("notes.txt", "x")
	write("half/model_index.json", `{"_class_name":"StableDiffusionXLPipeline","text_encoder":["transformers","CLIPTextModel"]}`)
	write("deep/m-00001-of-00002.safetensors", "x")
	if err := os.Symlink(filepath.Join(root, "b"), filepath.Join(root, "z")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(root, "y")); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	m := parseModels(t, []string{"-models", root})
	if err := m.find(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(m.first().called(), " ", m.more), fmt.Sprintf("b [{deep/er/file 1.0 %s} {z %[2]s}]", filepath.Join(root, "deep/er/file 1.0.safetensors"), filepath.Join(root, "z")); got != want {
		t.Errorf("%s, want %s\n%s", got, want, &log)
	}
	for _, name := range []string{"refiner", "broken.safetensors", "a=b.safetensors", "half", "y"} {
		if !strings.Contains(log.String(), filepath.Join(root, name)) {
			t.Errorf("the log says nothing of %s:\n%s", name, &log)
		}
	}
	for _, name := range []string{"notes.txt", "hidden", "00001", "vae"} {
		if strings.Contains(log.String(), name) {
			t.Errorf("the log speaks of %s:\n%s", name, &log)
		}
	}

	m = parseModels(t, []string{"-model", "z=demo", "-model", filepath.Join(root, "b"), "-models", root})
	log.Reset()
	if err := m.find(slog.New(slog.NewTextHandler(&log, nil))); err != nil {
		t.Fatal(err)
	}
	if m.first().called() != "z" || len(m.more) != 2 || m.more[0].called() != "b" || m.more[1].name != "deep/er/file 1.0" {
		t.Errorf("%+v", m.more)
	}

	for dir, says := range map[string]string{filepath.Join(root, "deep", "none"): "no such file", t.TempDir(): "there is no model in it"} {
		m = parseModels(t, []string{"-models", dir})
		if err := m.find(slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	var out bytes.Buffer
	if status := run([]string{"-models", t.TempDir()}, io.MultiWriter(&out)); status != 2 {
		t.Errorf("status %d: %s", status, &out)
	}
}
