//go:build parity

package sdxl

import (
	"image"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
)

// TestSingleFileFull writes the full base and refiner as single files and as folders, 26 GB in all and one after the
// other, and draws with each: the latents of the file are to the bit those of the folder. The file, which was just
// written, opens within two seconds. See the Makefile's parity-full.
func TestSingleFileFull(t *testing.T) {
	for _, name := range []string{"base", "refiner"} {
		t.Run(name, func(t *testing.T) {
			host := hostOf(cpuDevice(t))
			draw := func(path string) []float32 {
				start := time.Now()
				m, err := Open(t.Context(), path, Options{Host: host, Precision: kernels.F32})
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := m.Close(); err != nil {
						t.Error(err)
					}
				}()
				opened := time.Since(start)
				if opened > 2*time.Second {
					t.Errorf("%s: opened in %v, want at most 2 s", filepath.Base(path), opened)
				}
				r := Request{Prompt: "a lighthouse at dusk", Width: 128, Height: 128, Steps: 2, Seed: new(uint64(4)), OriginalSize: Size{1024, 1024}}
				if m.spec.refiner() {
					r.Width, r.Height, r.Image, r.Strength = 0, 0, image.NewNRGBA(image.Rect(0, 0, 128, 128)), 1
				}
				result, err := m.Generate(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s: opened in %v, drawn in %v, hash %s", filepath.Base(path), opened, time.Since(start)-opened, m.Hash())
				return result.Latents.Data
			}
			dir := t.TempDir()
			file := filepath.Join(dir, name+".safetensors")
			if err := SynthesiseFile(t.Context(), name, kernels.F16, file); err != nil {
				t.Fatal(err)
			}
			got := draw(file)
			folder := filepath.Join(dir, name)
			if err := Synthesise(t.Context(), name, kernels.F16, folder); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, draw(folder)) {
				t.Error("the file's latents are not the folder's")
			}
		})
	}
}
