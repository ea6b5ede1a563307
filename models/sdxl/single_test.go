package sdxl

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// single writes a synthetic model as one file.
func single(t *testing.T, name string, dtype kernels.DType) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".safetensors")
	if err := SynthesiseFile(t.Context(), name, dtype, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestSingleFile opens base and refiner from single files, by their specification and whole: latents are to the bit
// those of the folders that the files were made from.
func TestSingleFile(t *testing.T) {
	dev := cpuDevice(t)
	for _, name := range []string{"tiny", "tiny-refiner"} {
		for _, dtype := range []kernels.DType{kernels.F32, kernels.F16} {
			file, dir := single(t, name, dtype), filepath.Join(t.TempDir(), name)
			if err := Synthesise(t.Context(), name, dtype, dir); err != nil {
				t.Fatal(err)
			}
			var latents [2][]float32
			var hashes [2]string
			for i, path := range []string{dir, file} {
				spec, err := ReadSpec(path, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				m, err := Open(t.Context(), path, Options{Host: hostOf(dev)})
				if err != nil {
					t.Fatal(err)
				}
				if m.Info() != spec.Info() || spec.refiner() != (name == "tiny-refiner") {
					t.Errorf("%s: %+v opened, %+v read", path, m.Info(), spec.Info())
				}
				r := Request{Prompt: "a lighthouse at dusk", Width: 64, Height: 64, Steps: 5, Seed: new(uint64(4))}
				if spec.refiner() {
					r.Image = image.NewNRGBA(image.Rect(0, 0, 64, 64))
				}
				result, err := m.Generate(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				latents[i], hashes[i] = result.Latents.Data, m.Hash()
				if err := m.Close(); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(latents[0], latents[1]) || hashes[0] != hashes[1] {
				t.Errorf("%s %v: the single file's latents are not the folder's, or its hash %s is not %s", name, dtype, hashes[1], hashes[0])
			}
		}
	}
}

// TestSingleFileTensors: every tensor of a component from a single file has the type, the shape and the bytes that it
// has in the folder.
func TestSingleFileTensors(t *testing.T) {
	file := single(t, "tiny", kernels.F16)
	files, err := openStore(file, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	synth, err := openSynthetic("synth:tiny", "tiny")
	if err != nil {
		t.Fatal(err)
	}
	for component, read := range componentShapes {
		data, err := synth.read(component + "/config.json")
		if err != nil {
			t.Fatal(err)
		}
		shapes, err := read(data, component)
		if err != nil {
			t.Fatal(err)
		}
		want := weights.Synthetic(component, shapes, kernels.F16)
		got, _, err := files.weights(component, weights.Variant{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Names(), want.Names()) {
			t.Errorf("%s: tensors %v, want %v", component, got.Names(), want.Names())
			continue
		}
		for _, name := range want.Names() {
			_, wantShape, wantData, _ := want.Tensor(name)
			dtype, shape, data, err := got.Tensor(name)
			if err != nil || dtype != kernels.F16 || !slices.Equal(shape, wantShape) || !slices.Equal(data, wantData) {
				t.Errorf("%s %s: %v %v, %v; want %v and its bytes", component, name, dtype, shape, err, wantShape)
			}
			storage := kernels.Mapped
			if name == "text_projection.weight" {
				storage = kernels.Made
			}
			if got.Storage(name) != storage {
				t.Errorf("%s %s: storage %v, want %v", component, name, got.Storage(name), storage)
			}
		}
	}
}

// TestSingleFileOfDiffusers: the files are those that diffusers' own converters were run on, by
// tools/reference/single_file.py, and gave the model's tensors to the bit.
func TestSingleFileOfDiffusers(t *testing.T) {
	data, err := os.ReadFile(testdata + "/single_file.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ SHA256 map[string]string }
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.SHA256) != 2 {
		t.Errorf("%d files, want 2", len(golden.SHA256))
	}
	for name, want := range golden.SHA256 {
		f, err := weights.Open(single(t, name, kernels.F32))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, tensor := range f.Names() {
			_, shape, data, err := f.Tensor(tensor)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(h, "%s [%s]\n", tensor, strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]"))
			h.Write(data)
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != want {
			t.Errorf("%s: hash %s, want %s", name, got, want)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
