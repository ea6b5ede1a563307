package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

// checkpoint writes the tiny model in one file, with what change makes of its tensors; nil leaves one out.
func checkpoint(t *testing.T, change func(weights.Tensor) *weights.Tensor) string {
	t.Helper()
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.safetensors")
	if err := sdxl.SynthesiseFile(t.Context(), "tiny", kernels.F32, whole); err != nil {
		t.Fatal(err)
	}
	f, err := weights.Open(whole)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	var list []weights.Tensor
	for _, x := range all {
		if c := change(x); c != nil {
			list = append(list, *c)
		}
	}
	if len(list) == 0 {
		t.Fatal("no tensors are left")
	}
	file := filepath.Join(dir, "changed.safetensors")
	if err := weights.Write(file, list, f.Metadata()); err != nil {
		t.Fatal(err)
	}
	return file
}

// What a model takes from other files reaches the configurations by which the server resolves requests, the process that
// computes, and an engine of the server's own alike.
func TestPartsReachModel(t *testing.T) {
	const vae = "first_stage_model."
	replaced := 0
	other := checkpoint(t, func(x weights.Tensor) *weights.Tensor {
		switch x.Name {
		case "model.diffusion_model.out.2.bias", vae + "decoder.conv_out.bias":
			x = waves(x.Name, x.Shape...)
			replaced++
		}
		return &x
	})
	if replaced != 2 {
		t.Fatalf("%d tensors were replaced, want 2", replaced)
	}
	noVAE := checkpoint(t, func(x weights.Tensor) *weights.Tensor {
		if strings.HasPrefix(x.Name, vae) {
			return nil
		}
		return &x
	})
	var plain []byte
	for _, c := range []struct {
		flags   []string
		same    bool // as the model with nothing in its place
		rescale float64
		says    sdxl.Parameters
	}{
		{[]string{"-model", "synth:tiny"}, true, 0, sdxl.Parameters{}},
		{[]string{"-model", "synth:tiny", "-base", "synth:tiny"}, true, 0, sdxl.Parameters{}},
		{[]string{"-model", noVAE, "-base", "synth:tiny"}, true, 0, sdxl.Parameters{Base: "synth:tiny"}},
		{[]string{"-model", noVAE, "-vae", other}, false, 0, sdxl.Parameters{VAE: filepath.Base(other)}},
		{[]string{"-model", "synth:tiny", "-unet", other}, false, 0, sdxl.Parameters{UNet: filepath.Base(other)}},
		{[]string{"-model", "synth:tiny", "-prediction", "v_zsnr"}, false, 0.7, sdxl.Parameters{Prediction: "v_zsnr"}},
	} {
		m := parseModels(t, append(c.flags, "-device", "cpu"))
		specs, err := m.specs()
		if err != nil {
			t.Errorf("%q: %v", c.flags, err)
			continue
		}
		j := engine.Job{Model: engine.Base, Request: sdxl.Request{Prompt: "a cat", Width: 64, Height: 64, Steps: 2, Seed: new(uint64(1))}}
		if j.Parameters, err = specs.Resolve(j); err != nil {
			t.Fatal(err)
		}
		compute := func(e engine.Engine, err error) []byte {
			t.Helper()
			if err != nil {
				t.Fatalf("%q: %v", c.flags, err)
			}
			defer e.Close()
			result, err := e.Generate(t.Context(), j)
			if err != nil {
				t.Fatalf("%q: %v", c.flags, err)
			}
			if got := result.Parameters; got.GuidanceRescale != c.rescale || j.Parameters.GuidanceRescale != c.rescale || got.Model != j.Parameters.Model {
				t.Errorf("%q: guidance rescale %v of %s, resolved to %v of %s, want %v", c.flags, got.GuidanceRescale, got.Model, j.Parameters.GuidanceRescale, j.Parameters.Model, c.rescale)
			}
			p := result.Parameters
			if got := (sdxl.Parameters{UNet: p.UNet, VAE: p.VAE, TAESD: p.TAESD, Base: p.Base, Prediction: p.Prediction}); !reflect.DeepEqual(got, c.says) {
				t.Errorf("%q: the parameters say %v", c.flags, got)
			}
			return result.Images[0].Pix
		}
		apart := compute(asEngine(m.start("cpu", &output{}, process.Config{})))
		own := cpu{models: m, log: slog.New(slog.DiscardHandler)}
		here := compute(own.load(0))
		if err := own.Close(); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(apart, here) {
			t.Errorf("%q: a process of its own computes another image", c.flags)
		}
		if plain == nil {
			plain = here
		}
		if bytes.Equal(here, plain) != c.same {
			t.Errorf("%q: the model's own image: %v, want %v", c.flags, !c.same, c.same)
		}
	}
}
