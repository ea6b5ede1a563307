package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// inversionFile writes a textual inversion of two vectors for text_encoder, of widths l and g.
func inversionFile(t *testing.T, name string, l, g int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	tensors := []weights.Tensor{
		weights.NewTensor("clip_l", kernels.F32, []int{2, l}, make([]byte, 8*l)), weights.NewTensor("clip_g", kernels.F32, []int{1, g}, make([]byte, 4*g)),
	}
	if err := weights.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEmbeddingFlag(t *testing.T) {
	path := inversionFile(t, "my.cat.safetensors", 768, 1280)
	colon := inversionFile(t, "a:b.safetensors", 768, 1280)
	g := generateFlags{inversions: []string{path, path + ":other", colon}}
	if err := g.readInversions(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range g.request.TextualInversions {
		names = append(names, e.Name)
		if e.L.Shape[0] != 2 || e.L.Shape[1] != 768 || e.G.Shape[0] != 1 || e.G.Shape[1] != 1280 {
			t.Errorf("%s has %v and %v", e.Name, e.L.Shape, e.G.Shape)
		}
	}
	if got := strings.Join(names, " "); got != "my.cat other a:b" {
		t.Errorf("names %s", got)
	}
	var usage *cli.UsageError
	twice := generateFlags{inversions: []string{path, inversionFile(t, "my.cat.safetensors", 768, 1280)}}
	if err := twice.readInversions(); !errors.As(err, &usage) || !strings.Contains(err.Error(), `"my.cat"`) {
		t.Errorf("two files of one name: %v", err)
	}
	missing := generateFlags{inversions: []string{path + "x:name"}}
	if err := missing.readInversions(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
