package sdxl

import (
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/scheduler"
)

// TestPartsOfAnotherHost puts a part in a base's place that the base's host does not manage: of another host, whose
// models may compute at the same time, and of a model that was closed. Every call says so, those of a closed model too.
func TestPartsOfAnotherHost(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	base, foreign := onHost(t, m, host, "tiny"), onHost(t, m, hostOf(m.dev), "tiny")
	closed, err := Open(t.Context(), "synth:tiny", Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Model){
		"text_encoder of another host":   func(m *Model) { m.TextEncoder = foreign.TextEncoder },
		"text_encoder_2 of a closed one": func(m *Model) { m.TextEncoder2 = closed.TextEncoder2 },
		"unet of a closed one":           func(m *Model) { m.UNet = closed.UNet },
		"vae of another host":            func(m *Model) { m.VAE = foreign.VAE },
	} {
		whole := *base
		change(base)
		part, _, _ := strings.Cut(name, " ")
		for call, err := range map[string]error{
			"Generate": func() error { _, err := base.Generate(t.Context(), small()); return err }(),
			"Decode":   func() error { _, err := base.Decode(t.Context(), nil); return err }(),
		} {
			if err == nil || !strings.Contains(err.Error(), "synth:tiny: "+part+" is closed, or not of the model's host") {
				t.Errorf("%s, %s: error %v", name, call, err)
			}
		}
		*base = whole
	}
	if _, err := base.Generate(t.Context(), small()); err != nil {
		t.Errorf("with its own parts again: %v", err)
	}
	if _, err := closed.Generate(t.Context(), small()); err == nil || !strings.Contains(err.Error(), "is closed") {
		t.Errorf("a closed model: error %v", err)
	}
	// A part is used as soon as the host manages it.
	foreign.Host().Forget(foreign.VAE.Network)
	host.Manage("another's vae", foreign.VAE.Network)
	base.VAE, foreign.VAE = foreign.VAE, base.VAE
	if _, err := base.Generate(t.Context(), small()); err != nil {
		t.Errorf("a part that the host manages: %v", err)
	}
	host.Forget(base.VAE.Network)
}

// TestHashOfRun replaces the UNet while a run is open: the run's hash stays that of the UNet that computes it.
func TestHashOfRun(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	base, other := onHost(t, m, host, "tiny"), onHost(t, m, host, "tiny")
	want := base.Hash()
	run := started(t, base, small())
	base.UNet = other.UNet
	result, err := run.Finish(t.Context())
	if err != nil || result.Parameters.ModelHash != want {
		t.Errorf("%v, hash %q, want %q", err, result.Parameters.ModelHash, want)
	}
	if got := base.Hash(); got != "" {
		t.Errorf("hash of a UNet that the model did not open: %q", got)
	}
}

// TestErrorsThatName looks at errors of calls without a model's own tensors or hosts.
func TestErrorsThatName(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	base := m.open("tiny")
	for want, err := range map[string]error{
		"latents is absent: must be [N 4 H W]": func() error { _, err := base.Decode(t.Context(), nil); return err }(),
		"latents is [1 4 2 2] with 3 values: must be [N 4 H W] with a value for each element": func() error {
			_, err := base.Decode(t.Context(), &Tensor{Shape: []int{1, 4, 2, 2}, Data: make([]float32, 3)})
			return err
		}(),
		"prompt is a list of 65: must be at most 64": func() error {
			_, _, err := base.EncodePrompt(t.Context(), 0, make([]Prompt, 65)...)
			return err
		}(),
		"Options.Host is nil, or not made by NewHost": func() error {
			_, err := Open(t.Context(), "synth:tiny", Options{Host: &Host{}})
			return err
		}(),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestSchedulerOfOnesOwn replaces a model's scheduler by one that cannot run: calls say so, and another model of the host
// is not touched.
func TestSchedulerOfOnesOwn(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	base, other := onHost(t, m, host, "tiny"), onHost(t, m, host, "tiny")
	own := base.Scheduler
	base.Scheduler = scheduler.Config{}
	if _, err := base.Generate(t.Context(), small()); err == nil || !strings.Contains(err.Error(), "scheduler") {
		t.Errorf("no scheduler: error %v", err)
	}
	base.Scheduler = own
	base.Scheduler.PredictionType = "v_prediction"
	a, err := base.Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	b, err := other.Generate(t.Context(), small())
	if err != nil {
		t.Fatal(err)
	}
	if slices.Equal(a.Latents.Data, b.Latents.Data) {
		t.Error("another prediction_type changes nothing")
	}
}
