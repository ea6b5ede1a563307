package sdxl

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights/hub"
)

// TestHubName opens a model by its name from the hub's cache, of a branch or of a commit, without a network. What the
// cache lacks is an error that says how to download it.
func TestHubName(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	t.Setenv("HF_ENDPOINT", "http://127.0.0.1:1")
	const commit = "0123456789abcdef0123456789abcdef01234567"
	entry := filepath.Join(cache, "models--maker--tiny-xl")
	if err := errors.Join(Synthesise(t.Context(), "tiny", kernels.F32, filepath.Join(entry, "snapshots", commit)),
		os.MkdirAll(filepath.Join(entry, "refs"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(entry, "refs", "main"), []byte(commit), 0o644); err != nil {
		t.Fatal(err)
	}
	m := newModels(t)
	want, err := m.open("tiny").Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"maker/tiny-xl", "maker/tiny-xl@" + commit} {
		p, err := Open(t.Context(), name, Options{Host: hostOf(m.dev)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Generate(t.Context(), small())
		if err != nil || !slices.Equal(got.Images[0].Pix, want.Images[0].Pix) {
			t.Errorf("%s: %v, or another image", name, err)
		}
		if got.Parameters.Model != filepath.Base(name) || p.Info().Path != name {
			t.Errorf("%s is called %q and %q", name, got.Parameters.Model, p.Info().Path)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, component := range []string{"unet", "vae", "text_encoder", "text_encoder_2"} {
		if err := os.Remove(filepath.Join(entry, "snapshots", commit, filepath.FromSlash(weightsFile(component)))); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := ReadSpec("maker/tiny-xl", nil, nil); err != nil || s.Path != "maker/tiny-xl" {
		t.Errorf("the configurations of a model without weights: %v", err)
	}
	_, err = Open(t.Context(), "maker/tiny-xl", Options{Host: hostOf(m.dev)})
	if !errors.Is(err, hub.ErrNotCached) || !strings.Contains(err.Error(), "goxl pull maker/tiny-xl") {
		t.Errorf("a model without weights: %v", err)
	}
	for _, name := range []string{"maker/tiny-xl@v2", "maker/none"} {
		_, err := ReadSpec(name, nil, nil)
		if !errors.Is(err, hub.ErrNotCached) || !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "goxl pull "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
