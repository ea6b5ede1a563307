package weights

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// standins are what lies in place of a file, and what errors have to say of it.
var standins = map[string][]string{
	"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1680\n":      {"a Git LFS pointer to 1680 bytes", "git lfs pull"},
	"<!doctype html>\n<html><head><title>Access to model</title></head></html>\n": {"an HTML page", "download the file itself"},
}

// TestStandIns puts pointers and pages where JSON and weights belong.
func TestStandIns(t *testing.T) {
	for content, want := range standins {
		dir := layout(t, map[string]string{
			"index/" + indexFile:                  content,
			"config/config.json":                  content,
			"weights/model.safetensors":           content,
			"weights/download.part":               content,
			"weights/pytorch_model.bin":           content,
			"shards/model.safetensors.index.json": content,
			"shard/model.safetensors.index.json":  `{"weight_map":{"a":"s1.safetensors"}}`,
			"shard/s1.safetensors":                content,
		})
		path := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
		component := func(name string) func() error {
			return func() error { _, err := OpenComponent(path(name)); return err }
		}
		for name, open := range map[string]func() error{
			"index/" + indexFile:                  func() error { _, err := OpenFolder(path("index")); return err },
			"config/config.json":                  func() error { _, err := Recognise(path("config")); return err },
			"index/model_index.json ":             func() error { _, err := Recognise(path("index")); return err },
			"weights/model.safetensors":           component("weights/model.safetensors"),
			"shards/model.safetensors.index.json": component("shards/model.safetensors.index.json"),
			"shard/s1.safetensors":                component("shard/model.safetensors.index.json"),
			"parsed":                              func() error { _, err := ParseConfig([]byte(content), "parsed", &struct{}{}); return err },
			"fixed":                               func() error { return RequireFixed([]byte(content), "fixed", "", nil) },
		} {
			err := open()
			for _, w := range append(want, filepath.FromSlash(strings.TrimSpace(name))) {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%s: error %v, want %q", name, err, w)
				}
			}
		}
		for _, name := range []string{"weights/download.part", "weights/pytorch_model.bin"} {
			if kind, err := Recognise(path(name)); err != nil || !strings.Contains(kind.String(), want[0]) {
				t.Errorf("%s is %v, error %v, want %q", name, kind, err, want[0])
			}
		}
	}
}

// TestForeignFiles gives files of other kinds the name of weights.
func TestForeignFiles(t *testing.T) {
	for content, want := range map[string]string{
		"PK\x03\x04\x14\x00\x00\x00\x08\x00archive/data.pkl": "a zip archive whose directory, at its end, is damaged or missing, perhaps half downloaded",
		"\x80\x02}q\x00(X\x05\x00\x00\x00":                   "the pickle is damaged at byte 11: it ends where 5 bytes more should be",
		strings.Repeat("sys_info", 32) + "\x00ustar\x00":     "a tar archive, which PyTorch wrote before 2017",
		"GGUF\x03\x00\x00\x00\x00\x00\x00\x00":               "a GGUF file",
		"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR":                "an image",
		`{"error":"Repository not found"}`:                   `a text that starts with "{\"error\"`,
		"Entry not found":                                    `a text that starts with "Entry not found"`,
		"Invalid username or password.\n":                    `a text that starts with "Invalid username`,
	} {
		dir := layout(t, map[string]string{"model.safetensors": content})
		_, err := OpenComponent(filepath.Join(dir, "model.safetensors"))
		var fe *FileError
		if !errors.As(err, &fe) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: error %v, want %q", content, err, want)
		}
	}
}
