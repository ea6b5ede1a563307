package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// inversionFile writes a textual inversion of two vectors for text_encoder and one for text_encoder_2.
func inversionFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	tensors := []weights.Tensor{
		weights.NewTensor("clip_l", kernels.F32, []int{2, 768}, make([]byte, 8*768)), weights.NewTensor("clip_g", kernels.F32, []int{1, 1280}, make([]byte, 4*1280)),
	}
	if err := weights.Write(path, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadTextualInversions(t *testing.T) {
	path, colon := inversionFile(t, "my.cat.safetensors"), inversionFile(t, "a:b.safetensors")
	list, err := ReadTextualInversions([]string{path, path + ":other", colon})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name)
		if e.L.Shape[0] != 2 || e.L.Shape[1] != 768 || e.G.Shape[0] != 1 || e.G.Shape[1] != 1280 {
			t.Errorf("%s has %v and %v", e.Name, e.L.Shape, e.G.Shape)
		}
	}
	if got := strings.Join(names, " "); got != "my.cat other a:b" {
		t.Errorf("names %s", got)
	}
	for _, second := range []string{inversionFile(t, "my.cat.safetensors"), inversionFile(t, "My.Cat.safetensors"), colon + ":MY.CAT"} {
		var usage *UsageError
		if _, err := ReadTextualInversions([]string{path, second}); !errors.As(err, &usage) || !strings.Contains(err.Error(), path) {
			t.Errorf("two files of one name, %s: %v", second, err)
		}
	}
	if _, err := ReadTextualInversions([]string{path + "x:name"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
