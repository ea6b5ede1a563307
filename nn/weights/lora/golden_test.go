package lora

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn/weights"
)

// files are the adapters that tools/reference/lora.py wrote, each by the library that defines its kind.
func files(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "testdata/lora/*.safetensors"))
	if err != nil || len(all) < 30 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	return all
}

// wants are the weights that the library of a file merged: by component and tensor.
func wants(t *testing.T, g *golden.File, name string) map[string]map[string][]float32 {
	t.Helper()
	all := map[string]map[string][]float32{}
	for component, tensors := range targets(t, "tiny") {
		for tensor := range tensors {
			key := name + "/" + component + "/" + tensor
			if g.Has(key) {
				if all[component] == nil {
					all[component] = map[string][]float32{}
				}
				all[component][tensor], _ = g.Floats(key)
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("no golden for %s", name)
	}
	return all
}

// tiny is a component of the tiny model.
func tiny(t *testing.T, component string) kernels.Source {
	t.Helper()
	return weights.Synthetic(component, shapes(t, "tiny", component), kernels.F32)
}

// TestGoldens merges every kind in every spelling, by Go's arithmetic and by that of the CPU's best variant, and
// compares with what the kind's own library merged: at strength 1, and at others with W + s·(W' − W).
func TestGoldens(t *testing.T) {
	device, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	g := golden.Open(t, filepath.Join(root, "testdata/goldens/lora.safetensors"))
	model := targets(t, "tiny")
	for _, path := range files(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".safetensors")
		t.Run(name, func(t *testing.T) {
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			a, report, err := f.Match(model)
			if err != nil {
				t.Fatal(err)
			}
			if report.Matched != report.Modules || len(report.Unmatched)+len(report.Warnings) > 0 {
				t.Errorf("%v, warnings %v", report, report.Warnings)
			}
			want := wants(t, g, name)
			for component, tensors := range want {
				src := tiny(t, component)
				if got := a.Names(component); len(got) != len(tensors) {
					t.Errorf("%s: changes %v", component, got)
				}
				for _, s := range []float32{1, 0.6, -0.4, 0} {
					m := Merge(src, component, []Selected{{a, Strength(s)}})
					fast := m.(kernels.Computed).With(device.Arithmetic())
					for tensor, w := range tensors {
						base := floats(t, src, tensor)
						got := floats(t, m, tensor)
						if s == 0 {
							if !slices.Equal(got, base) {
								t.Errorf("%s: strength 0 changes it", tensor)
							}
							continue
						}
						scaled := slices.Clone(w)
						if s != 1 {
							for i, b := range base {
								scaled[i] = float32(float64(b) + float64(s)*(float64(w[i])-float64(b)))
							}
						}
						golden.Near(t, component+" "+tensor, got, scaled, 1e-6)
						golden.Near(t, component+" "+tensor+" by the CPU's kernels", floats(t, fast, tensor), scaled, 1e-6)
						if d, err := golden.Distance(base, w); err != nil || d < 1e-3 {
							t.Errorf("%s: the golden is %.3g from the base, %v", tensor, d, err)
						}
					}
				}
			}
		})
	}
}

// TestGoldenFilesAreComplete wants a file for each golden.
func TestGoldenFilesAreComplete(t *testing.T) {
	for _, path := range files(t) {
		info, err := os.Stat(path)
		if err != nil || info.Size() > 100<<10 {
			t.Errorf("%s: %v bytes, %v: must be small", path, info.Size(), err)
		}
	}
}
