package sdxl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestOpenFS opens folders as file systems: the same image, and the same sharing, as from the disk.
func TestOpenFS(t *testing.T) {
	m := newModels(t)
	root := t.TempDir()
	for _, name := range []string{"tiny", "tiny-refiner"} {
		if err := Synthesise(t.Context(), name, kernels.F32, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	base, err := OpenFS(t.Context(), os.DirFS(filepath.Join(root, "tiny")), "embedded", Options{Host: hostOf(m.dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	refiner, err := refinerOfFS(t, base, os.DirFS(filepath.Join(root, "tiny-refiner")), "embedded refiner")
	if err != nil {
		t.Fatal(err)
	}
	defer refiner.Close()
	if refiner.TextEncoder2 != base.TextEncoder2 || refiner.VAE != base.VAE {
		t.Error("nothing is shared")
	}
	got, err := base.Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	want, err := m.open("tiny").Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Latents.Data, want.Latents.Data) {
		t.Error("the image differs from the folder's")
	}
	_, err = OpenFS(t.Context(), os.DirFS(root), "nothing", Options{Host: hostOf(m.dev)})
	if err == nil || !strings.Contains(err.Error(), "nothing/model_index.json is missing") {
		t.Errorf("an empty file system: %v", err)
	}
}

// TestUnknownDefaults leaves out what goxl.json says beyond its keys, with a warning.
func TestUnknownDefaults(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "goxl.json")
	if err := os.WriteFile(file, []byte(`{"steps": 3, "guidance_scale": 2.0, "num_inference_steps": 4.0}`), 0o644); err != nil {
		t.Fatal(err)
	}
	log, records := logged(t)
	p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if r, err := p.Resolve(Request{}); err != nil || r.Steps != 4 || r.Guidance != 2 {
		t.Errorf("%d steps, guidance %v, want 4 and 2: %v", r.Steps, r.Guidance, err)
	}
	if logged := records(); len(logged) != 1 || logged[0].Keys != "steps" || logged[0].File != file {
		t.Errorf("warnings %+v, want one of steps in %s", logged, file)
	}
}

func TestModelDefaults(t *testing.T) {
	m := newModels(t)
	dir := filepath.Join(t.TempDir(), "model")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		`{"num_inference_steps": 3, "guidance_scale": 2.5, "strength": 0.6, "width": 40, "height": 48, "trained_pixels": 1024}`: "",
		`{}`:                         "",
		`{"num_inference_steps": 0}`: `"num_inference_steps" is 0`,
		`{"strength": 1.5}`:          `"strength" is 1.5`,
		`{"trained_pixels": -1}`:     `"trained_pixels" is -1`,
		`{"width": 40}`:              "neither given",
		`{`:                          "goxl.json",
	} {
		if err := os.WriteFile(filepath.Join(dir, "goxl.json"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := Open(t.Context(), dir, Options{Host: hostOf(m.dev)})
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", content, err, want)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		info := p.Info()
		result, err := p.Generate(t.Context(), Request{Prompt: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if warned := len(result.Warnings) > 0; warned != (content != "{}") {
			t.Errorf("%s: warnings %q", content, result.Warnings)
		}
		size := result.Images[0].Bounds()
		r := result.Parameters
		got := [7]float64{float64(r.Steps), r.Guidance, info.Strength, float64(size.Dx()), float64(size.Dy()), float64(info.Steps), info.Guidance}
		expected := [7]float64{3, 2.5, 0.6, 40, 48, 3, 2.5}
		if content == "{}" {
			expected = [7]float64{50, 5, 0.3, 64, 64, 50, 5}
		}
		if got != expected {
			t.Errorf("%s: steps, guidance, strength, width, height, Info's steps and guidance %v, want %v", content, got, expected)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
