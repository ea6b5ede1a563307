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

// halfFile writes a vector for one text encoder, as diffusers' training scripts do for each.
func halfFile(t *testing.T, name string, width int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := weights.Write(path, []weights.Tensor{weights.NewTensor("<cat>", kernels.F32, []int{1, width}, make([]byte, 4*width))}, nil); err != nil {
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
	l, g := halfFile(t, "cat-l.safetensors", 768), halfFile(t, "cat-g.safetensors", 1280)
	for _, values := range [][]string{{l + ":cat", g + ":cat"}, {g + ":cat", path, l + ":Cat"}} {
		list, err := ReadTextualInversions(values)
		if err != nil || len(list) != len(values)-1 || list[0].Name != "cat" || list[0].L == nil || list[0].G == nil {
			t.Fatalf("the files of two encoders: %+v, %v", list, err)
		}
		if list[0].L.Shape[1] != 768 || list[0].G.Shape[1] != 1280 {
			t.Errorf("the files of two encoders: %v and %v", list[0].L.Shape, list[0].G.Shape)
		}
	}
	for _, values := range [][]string{{l + ":cat", l + ":cat"}, {l + ":cat", path + ":cat"}, {l + ":cat", g + ":cat", g + ":cat"}} {
		var usage *UsageError
		if _, err := ReadTextualInversions(values); !errors.As(err, &usage) || !strings.Contains(err.Error(), "clip_l alone") {
			t.Errorf("%q: %v", values, err)
		}
	}
	if _, err := ReadTextualInversions([]string{path + "x:name"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
