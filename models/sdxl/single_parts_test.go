package sdxl

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/nn/weights/singlefile"
)

// changed writes a single file with other tensors; its metadata, which has a tiny model's configurations, stays.
func changed(t *testing.T, file, name string, change func(map[string]weights.Tensor)) string {
	t.Helper()
	f, err := weights.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := weights.Tensors(f)
	if err != nil {
		t.Fatal(err)
	}
	tensors := map[string]weights.Tensor{}
	for _, x := range list {
		tensors[x.Name] = x
	}
	change(tensors)
	list = list[:0]
	for name, x := range tensors {
		x.Name = name
		list = append(list, x)
	}
	path := filepath.Join(t.TempDir(), name+".safetensors")
	if err := weights.Write(path, list, f.Metadata()); err != nil {
		t.Fatal(err)
	}
	return path
}

// without is change of changed that deletes tensors by prefix.
func without(prefixes ...string) func(map[string]weights.Tensor) {
	return func(tensors map[string]weights.Tensor) {
		maps.DeleteFunc(tensors, func(name string, _ weights.Tensor) bool {
			return slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		})
	}
}

// only keeps the tensors with a prefix, and puts them under another.
func only(prefix, other string) func(map[string]weights.Tensor) {
	return func(tensors map[string]weights.Tensor) {
		kept := map[string]weights.Tensor{}
		for name, x := range tensors {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				kept[other+rest] = x
			}
		}
		clear(tensors)
		maps.Copy(tensors, kept)
	}
}

const (
	unetPrefix = "model.diffusion_model."
	vaePrefix  = "first_stage_model."
	clipPrefix = "conditioner."
)

// drawn opens a model, whose specification must be what ReadSpecParts reads, and draws.
func drawn(t *testing.T, host *Host, path string, o Options) []float32 {
	t.Helper()
	spec, err := ReadSpecParts(path, o.parts(), nil, nil)
	if err != nil {
		t.Errorf("%s, %+v: %v", filepath.Base(path), o.parts(), err)
		return nil
	}
	o.Host = host
	m, err := Open(t.Context(), path, o)
	if err != nil {
		t.Errorf("%s, %+v: %v", filepath.Base(path), o.parts(), err)
		return nil
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	if m.Info() != spec.Info() {
		t.Errorf("%s, %+v: %+v opened, %+v read", filepath.Base(path), o.parts(), m.Info(), spec.Info())
	}
	result, err := m.Generate(t.Context(), Request{Prompt: "a lighthouse", Width: 32, Height: 32, Steps: 2, Seed: new(uint64(4))})
	if err != nil {
		t.Errorf("%s: %v", filepath.Base(path), err)
		return nil
	}
	return result.Latents.Data
}

// TestPartsFromElsewhere opens single files that lack parts, and UNets alone, with what they lack from other files: the
// image is the whole model's.
func TestPartsFromElsewhere(t *testing.T) {
	t.Parallel()
	host := hostOf(cpuDevice(t))
	whole := single(t, "tiny", kernels.F32)
	dir := filepath.Join(t.TempDir(), "tiny")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
		t.Fatal(err)
	}
	want := drawn(t, host, whole, Options{})
	noVAE := changed(t, whole, "no-vae", without(vaePrefix))
	noEncoders := changed(t, whole, "no-encoders", without(clipPrefix))
	noG := changed(t, whole, "no-g", without(clipPrefix+"embedders.1."))
	unetAlone := changed(t, whole, "unet", only(unetPrefix, unetPrefix))
	bare := changed(t, whole, "bare", only(unetPrefix, ""))
	vaeAlone := changed(t, whole, "vae", only(vaePrefix, ""))
	diffusersUNet := dir + "/unet/diffusion_pytorch_model.safetensors"
	withMetadata := changed(t, diffusersUNet, "unet-diffusers", func(map[string]weights.Tensor) {})
	for _, c := range []struct {
		path string
		o    Options
	}{
		{noVAE, Options{VAE: vaeAlone}}, {noVAE, Options{VAE: whole}}, {noVAE, Options{VAE: dir}}, {noVAE, Options{VAE: dir + "/vae"}},
		{noVAE, Options{Missing: whole}}, {noVAE, Options{Missing: dir}}, {noVAE, Options{Missing: "synth:tiny"}},
		{noEncoders, Options{Missing: dir}}, {noG, Options{Missing: whole}},
		{unetAlone, Options{Missing: "synth:tiny"}}, {bare, Options{Missing: whole}},
		{dir, Options{UNet: bare}}, {dir, Options{UNet: whole}}, {"synth:tiny", Options{UNet: unetAlone}}, {whole, Options{UNet: bare, VAE: vaeAlone}},
	} {
		if got := drawn(t, host, c.path, c.o); !slices.Equal(got, want) {
			t.Errorf("%s, %+v: other latents", filepath.Base(c.path), c.o.parts())
		}
	}
	for _, c := range []struct {
		path string
		o    Options
		want []string
	}{
		{noVAE, Options{}, []string{"the file has no vae", "-vae", "-base"}},
		{noEncoders, Options{}, []string{"the file has no text_encoder, text_encoder_2: give a model", "-base"}},
		{bare, Options{}, []string{"the file has no text_encoder, text_encoder_2, vae"}},
		{bare, Options{VAE: vaeAlone}, []string{"the file has no text_encoder, text_encoder_2:"}},
		{noVAE, Options{Missing: noVAE}, []string{"the file has no vae"}},
		{noVAE, Options{VAE: bare}, []string{"must be a VAE's weights"}},
		{vaeAlone, Options{}, []string{"this is a VAE component", "give it with -vae"}},
		{whole, Options{UNet: vaeAlone}, []string{"UNet: ", "this is a VAE component"}},
		{dir, Options{UNet: withMetadata}, []string{"is no multiple of 64", "goxl:unet/config.json"}},
		{"synth:tiny", Options{UNet: dir}, []string{"UNet: "}},
		{noVAE, Options{Missing: dir + "/none"}, []string{"base: "}},
		{whole, Options{Missing: dir + "/none"}, []string{"base: ", "none"}}, {"synth:tiny", Options{Missing: "synth:none"}, []string{"base: ", `no synthetic model "none"`}},
		{bare, Options{Missing: dir + "/none"}, []string{"base: "}},
	} {
		_, readErr := ReadSpecParts(c.path, c.o.parts(), nil, nil)
		c.o.Host = host
		_, err := Open(t.Context(), c.path, c.o)
		for what, err := range map[string]error{"ReadSpecParts": readErr, "Open": err} {
			var wrong *ModelError
			if !errors.As(err, &wrong) {
				t.Errorf("%s: %s, %+v: %v, want a *ModelError", what, filepath.Base(c.path), c.o.parts(), err)
				continue
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %s, %+v: %v, want %q", what, filepath.Base(c.path), c.o.parts(), err, w)
				}
			}
		}
	}
}

// TestBaseThatLendsNothing: a base that nothing is taken from is in a warning, and opens all the same.
func TestBaseThatLendsNothing(t *testing.T) {
	t.Parallel()
	whole := single(t, "tiny", kernels.F16)
	noVAE := changed(t, whole, "no-vae", without(vaePrefix))
	for path, want := range map[string]bool{whole: true, "synth:tiny": true, noVAE: false} {
		var log bytes.Buffer
		if _, err := ReadSpecParts(path, Parts{Missing: whole}, nil, slog.New(slog.NewTextHandler(&log, nil))); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "nothing is taken from the base"); got != want || got && !strings.Contains(log.String(), "WARN") {
			t.Errorf("%s: the log has %q", filepath.Base(path), log.String())
		}
	}
}

// TestMarks reads what the tensors beside a UNet say of what it predicts, in a whole model and in a UNet over another.
func TestMarks(t *testing.T) {
	t.Parallel()
	whole := single(t, "tiny", kernels.F16)
	mark := func(name string) weights.Tensor { return weights.NewTensor(name, kernels.F32, []int{0}, nil) }
	for name, c := range map[string]struct {
		marks      []weights.Tensor
		prediction string
		zeroSNR    bool
		spacing    string
	}{
		"none":  {nil, "epsilon", false, "leading"},
		"v":     {[]weights.Tensor{mark("v_pred")}, "v_prediction", false, "leading"},
		"ztsnr": {[]weights.Tensor{mark("v_pred"), mark("ztsnr")}, "v_prediction", true, "trailing"},
	} {
		file := changed(t, whole, name, func(tensors map[string]weights.Tensor) {
			for _, m := range c.marks {
				tensors[m.Name] = m
			}
		})
		alone := changed(t, file, name+"-unet", without(vaePrefix, clipPrefix))
		for path, p := range map[string]Parts{file: {}, alone: {Missing: "synth:tiny"}, "synth:tiny": {UNet: alone}} {
			s, err := ReadSpecParts(path, p, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			d := s.Scheduler
			if d.Class != "EulerDiscreteScheduler" || d.PredictionType != c.prediction || d.RescaleZeroSNR != c.zeroSNR || d.TimestepSpacing != c.spacing {
				t.Errorf("%s, %s %+v: %s, %s, zero SNR %v, %s", name, filepath.Base(path), p, d.Class, d.PredictionType, d.RescaleZeroSNR, d.TimestepSpacing)
			}
			q, err := s.Resolve(Request{Prompt: "x"})
			if want := map[bool]float64{true: 0.7}[c.zeroSNR]; err != nil || q.GuidanceRescale != want {
				t.Errorf("%s, %s %+v: guidance rescale %v, %v; want %v", name, filepath.Base(path), p, q.GuidanceRescale, err, want)
			}
			if q, err := s.Resolve(Request{Prompt: "x", GuidanceRescale: new(0.0)}); err != nil || q.GuidanceRescale != 0 {
				t.Errorf("%s: guidance rescale %v, %v; want 0", name, q.GuidanceRescale, err)
			}
		}
	}
	for kind, want := range map[string][2]any{"epsilon": {"epsilon", false}, "v_prediction": {"v_prediction", false}, "v_zsnr": {"v_prediction", true}} {
		s, err := ReadSpecParts(whole, Parts{Prediction: kind}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Resolve(Request{Prompt: "x"})
		if d := s.Scheduler; err != nil || d.PredictionType != want[0] || d.RescaleZeroSNR != want[1] || (d.ZeroSNRTerminalAlpha != nil) != want[1] || (q.GuidanceRescale == 0.7) != want[1] {
			t.Errorf("%s: %s, zero SNR %v, guidance rescale %v, %v", kind, d.PredictionType, d.RescaleZeroSNR, q.GuidanceRescale, err)
		}
	}
	if _, err := ReadSpecParts(whole, Parts{Prediction: "x"}, nil, nil); err == nil || !strings.Contains(err.Error(), "must be one of epsilon, v_prediction, v_zsnr") {
		t.Errorf("an unknown prediction: %v", err)
	}
	if singlefile.ComfyZeroSNRAlpha >= 0x1p-24 {
		t.Error("ComfyUI's last alpha is not below diffusers'")
	}
}

// TestImageInputs opens models whose UNet reads more than latents; a request's error names that input.
func TestImageInputs(t *testing.T) {
	t.Parallel()
	host := hostOf(cpuDevice(t))
	whole := single(t, "tiny", kernels.F32)
	for channels, want := range map[int][]string{9: {`mask_image is absent`, "reads 9 channels", "inpainting"}, 8: {"image is absent", "reads 8 channels", "InstructPix2Pix"}, 5: nil} {
		file := changed(t, whole, "model", func(tensors map[string]weights.Tensor) {
			const name = unetPrefix + "input_blocks.0.0.weight"
			x := tensors[name]
			tensors[name] = weights.NewTensor(name, x.DType, []int{x.Shape[0], channels, 3, 3}, make([]byte, x.Shape[0]*channels*9*x.DType.Size()))
		})
		m, err := Open(t.Context(), file, Options{Host: host})
		if want == nil {
			if err == nil || !strings.Contains(err.Error(), "the UNet has 5 input and 4 output channels") {
				t.Errorf("%d channels: %v", channels, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Generate(t.Context(), small())
		var wrong *RequestError
		if !errors.As(err, &wrong) {
			t.Errorf("%d channels: %v, want a *RequestError", channels, err)
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%d channels: %v, want %q", channels, err, w)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}
