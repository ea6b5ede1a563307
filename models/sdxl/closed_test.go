package sdxl

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// TestClosedModel calls a model that is closed, and a run of it that is not: errors, no panic, and the host stays
// usable.
func TestClosedModel(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	other := onHost(t, m, host, "tiny")
	for _, live := range []bool{false, true} {
		closed, err := Open(t.Context(), "synth:tiny", Options{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		r := scheduled("dpmpp_2m_sde", 1, 48)
		run := started(t, closed, r)
		x, err := run.Latents(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if live {
			steps(t, run, 2)
		}
		if err := closed.Close(); err != nil {
			t.Error(err)
		}
		for name, call := range map[string]func() error{
			"Step":         func() error { return run.Step(t.Context()) },
			"Predict":      func() error { _, err := run.Predict(t.Context(), x, 500, 1); return err },
			"Generate":     func() error { _, err := closed.Generate(t.Context(), r); return err },
			"Start":        func() error { _, err := closed.Start(t.Context(), r); return err },
			"Decode":       func() error { _, err := closed.Decode(t.Context(), x); return err },
			"EncodePrompt": func() error { _, _, err := closed.EncodePrompt(t.Context(), 0, Prompt{Prompt: "a"}); return err },
			"EncodeImage":  func() error { _, err := closed.EncodeImage(t.Context(), gradient(48, 40), nil); return err },
		} {
			if err := call(); err == nil || !strings.Contains(err.Error(), "closed") {
				t.Errorf("live %v: %s: %v", live, name, err)
			}
		}
		// A run that has its latents still gives them.
		run.Latents(t.Context())
		run.SetLatents(t.Context(), x)
		run.Finish(t.Context())
		if err := closed.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
		if _, err := other.Generate(t.Context(), r); err != nil {
			t.Errorf("another model of the host: %v", err)
		}
	}
}

// TestVAEOfAFile takes the autoencoder from a single file, whose shapes must be those of the model's own configuration.
func TestVAEOfAFile(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base := m.open("tiny")
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	const file = "/vae/diffusion_pytorch_model.safetensors"
	opened, err := Open(t.Context(), "synth:tiny", Options{Host: base.Host(), VAE: dir + file})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	want, err := base.Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := opened.Generate(t.Context(), small()); err != nil || !slices.Equal(got.Images[0].Pix, want.Images[0].Pix) {
		t.Errorf("%v, or another image", err)
	}
	components := len(base.Host().memory.components)
	for path, want := range map[string]string{
		m.folder("tiny-b") + file:   "tiny-b/vae",
		m.folder("tiny-c") + "/vae": "6 latent channels",
		dir + "/unet":               "unet",
		dir + "/nothing":            "no such file",
		dir + "/model_index.json":   "model_index.json",
		t.TempDir():                 "config.json",
	} {
		if _, err := Open(t.Context(), "synth:tiny", Options{Host: base.Host(), VAE: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Options.VAE %s: %v, want %q", path, err, want)
		}
	}
	if n := len(base.Host().memory.components); n != components {
		t.Errorf("%d components are managed after models that did not open, %d before", n, components)
	}
}
