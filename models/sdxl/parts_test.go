package sdxl

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// onHost opens a model of newModels on a host that others share.
func onHost(t *testing.T, m *models, host *Host, name string) *Model {
	t.Helper()
	path := "synth:" + name
	if !slices.Contains(SyntheticNames(), name) {
		path = m.folder(name)
	}
	p, err := Open(t.Context(), path, Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestVAEOfAnotherModel takes the autoencoder of a model with another scale factor: images and sizes are those of
// diffusers' pipeline with that VAE, and the same as with Options.VAE.
func TestVAEOfAnotherModel(t *testing.T) {
	t.Parallel()
	g := golden.Open(t, testdata+"/goldens/request_fields.safetensors")
	m := newModels(t)
	host := hostOf(m.dev)
	base, other := onHost(t, m, host, "tiny"), onHost(t, m, host, "tiny-b")
	own := base.VAE
	base.VAE = other.VAE
	if info := base.Info(); info.ScaleFactor != 4 || info.Width != 32 {
		t.Errorf("with another's VAE: %+v", info)
	}
	r := Request{Prompt: "a small red house by the sea at sunset", Steps: 5, Seed: new(uint64(1))}
	result, err := base.Generate(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := g.Floats("vae")
	golden.Near(t, "latents", result.Latents.Data, want, 5e-5)
	compareImages(t, result, g, "vae.image")

	folder := m.folder("tiny-b")
	for _, path := range []string{folder, folder + "/vae"} {
		opened, err := Open(t.Context(), "synth:tiny", Options{Host: host, VAE: path})
		if err != nil {
			t.Fatal(err)
		}
		got, err := opened.Generate(t.Context(), r)
		if err != nil || !slices.Equal(got.Latents.Data, result.Latents.Data) || !slices.Equal(got.Images[0].Pix, result.Images[0].Pix) {
			t.Errorf("Options.VAE %s: %v, or another image", path, err)
		}
		if !reflect.DeepEqual(opened.Spec().VAE, other.Spec().VAE) {
			t.Errorf("Options.VAE %s: %+v", path, opened.Spec().VAE)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	}

	// An image goes there and back: the means of the posterior.
	x, err := base.EncodeImage(t.Context(), gradient(48, 40), nil)
	if err != nil || !slices.Equal(x.Shape, []int{1, 4, 10, 12}) {
		t.Fatalf("%v, %v", x, err)
	}
	drawn, err := base.EncodeImage(t.Context(), gradient(48, 40), scheduler.NewGenerator(1))
	if err != nil || slices.Equal(drawn.Data, x.Data) {
		t.Errorf("%v, or a draw of the posterior is its mode", err)
	}
	images, err := base.Decode(t.Context(), x)
	if err != nil || images[0].Bounds() != gradient(48, 40).Bounds() {
		t.Errorf("%v, %v", images, err)
	}
	base.VAE = own
	if info := base.Info(); info.ScaleFactor != 8 {
		t.Errorf("with its own VAE again: %+v", info)
	}
}

// TestOtherVAEErrors names what Options.VAE is instead of a VAE.
func TestOtherVAEErrors(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	folder := m.folder("tiny-b")
	for path, want := range map[string]string{
		t.TempDir():      "it has neither config.json nor vae/config.json",
		folder + "/none": "no such file",
		folder + "/unet": `"_class_name" is "UNet2DConditionModel"`,
		folder + "/unet/diffusion_pytorch_model.safetensors": "must be a VAE's weights",
		folder + "/vae/diffusion_pytorch_model.safetensors":  "synth:tiny/vae/config.json",
	} {
		_, err := Open(t.Context(), "synth:tiny", Options{Host: host, VAE: path})
		if err == nil || !strings.Contains(err.Error(), "VAE: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want VAE and %q", path, err, want)
		}
	}
}

// TestUnreadableConfiguration names the whole path of what can't be read.
func TestUnreadableConfiguration(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "tiny")
	if err := Synthesise(t.Context(), "tiny", kernels.F32, folder); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "unet", "config.json")
	if err := errors.Join(os.Remove(file), os.Symlink("config.json", file)); err != nil { // a link to itself: root reads every file
		t.Skip(err)
	}
	if _, err := ReadSpec(folder, nil, nil); err == nil || !strings.Contains(err.Error(), file+": ") {
		t.Errorf("%v, want %s", err, file)
	}
}

// TestPartsThatDoNotFit puts parts of other models in a base's places: every call says what is wrong.
func TestPartsThatDoNotFit(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	base, b, c, refiner := onHost(t, m, host, "tiny"), onHost(t, m, host, "tiny-b"), onHost(t, m, host, "tiny-c"), onHost(t, m, host, "tiny-refiner")
	for name, x := range map[string]struct {
		change func(*Model)
		want   string
	}{
		"a UNet of other widths":      {func(m *Model) { m.UNet = b.UNet }, "cross_attention_dim"},
		"a refiner's UNet":            {func(m *Model) { m.UNet = refiner.UNet }, "cross_attention_dim"},
		"a VAE of six channels":       {func(m *Model) { m.VAE = c.VAE }, "6 latent channels"},
		"an encoder of another width": {func(m *Model) { m.TextEncoder2 = b.TextEncoder2 }, "cross_attention_dim"},
		"tokenizers of two lengths":   {func(m *Model) { m.Tokenizer = c.Tokenizer }, "sequences of 33 tokens"},
		"no tokenizer":                {func(m *Model) { m.Tokenizer = nil }, "a part is nil"},
		"no second tokenizer":         {func(m *Model) { m.Tokenizer2 = nil }, "a part is nil"},
		"no UNet":                     {func(m *Model) { m.UNet = nil }, "a part is nil"},
		"no VAE":                      {func(m *Model) { m.VAE = nil }, "a part is nil"},
	} {
		whole := *base
		x.change(base)
		calls := map[string]func() error{
			"Resolve":      func() error { _, err := base.Resolve(small()); return err },
			"Generate":     func() error { _, err := base.Generate(t.Context(), small()); return err },
			"Start":        func() error { _, err := base.Start(t.Context(), small()); return err },
			"EncodePrompt": func() error { _, _, err := base.EncodePrompt(t.Context(), 0, Prompt{}); return err },
			"EncodeImage":  func() error { _, err := base.EncodeImage(t.Context(), gradient(48, 40), nil); return err },
			"Decode":       func() error { _, err := base.Decode(t.Context(), nn.NewTensor(1, 4, 5, 6)); return err },
			"Check":        func() error { _, err := base.Check(t.Context(), CheckOptions{}); return err },
			"CheckSize":    func() error { _, err := base.CheckSize(CheckOptions{}); return err },
			"Trial":        func() error { return base.Trial(t.Context()) },
			"Cost":         func() error { _, err := base.Cost(1); return err },
			"Ensemble": func() error {
				_, err := Ensemble(t.Context(), small(), Expert{base, 0.5}, Expert{Model: refiner})
				return err
			},
		}
		base.Info() // does not panic
		for call, f := range calls {
			err := f()
			var wrong *ModelError
			if err == nil || !strings.Contains(err.Error(), x.want) || !errors.As(err, &wrong) {
				t.Errorf("%s, %s: %v, want a *ModelError with %q", name, call, err, x.want)
			}
		}
		*base = whole
	}
	if _, err := base.Generate(t.Context(), small()); err != nil {
		t.Errorf("whole again: %v", err)
	}
}

// TestUNetOfAnotherModel samples with another model's UNet, whose weights Hash does not know.
func TestUNetOfAnotherModel(t *testing.T) {
	t.Parallel()
	m := newModels(t)
	host := hostOf(m.dev)
	base, other := onHost(t, m, host, "tiny"), onHost(t, m, host, "tiny")
	r := scheduled("dpmpp_2m", 1, 48)
	want, err := base.Generate(t.Context(), r)
	if err != nil || want.Parameters.ModelHash == "" {
		t.Fatalf("%v, hash %q", err, want.Parameters.ModelHash)
	}
	own := base.UNet
	base.UNet = other.UNet
	a, b := started(t, base, r), started(t, other, scheduled("unipc", 2, 48))
	for a.Next() || b.Next() {
		steps(t, a, 1)
		steps(t, b, 1)
	}
	finished(t, "on the other's UNet", a, want.Latents)
	if result, err := a.Finish(t.Context()); err != nil || result.Parameters.ModelHash != "" {
		t.Errorf("%v, or the hash of another UNet", err)
	}
	if base.UNet = own; base.Hash() != want.Parameters.ModelHash {
		t.Error("another hash with its own UNet again")
	}
}
