package sdxl

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/nn/weights"
)

// checked opens a model on a device and checks it.
func checked(t *testing.T, dev kernels.Device, path string, o CheckOptions) []ComponentCheck {
	t.Helper()
	m, err := Open(t.Context(), path, Options{Host: hostOf(dev)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	found, err := m.Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// agree fails the test for every component that differs or has another judge than is wanted.
func agree(t *testing.T, found []ComponentCheck, gorgonia bool) {
	t.Helper()
	for _, c := range found {
		if c.First != nil || c.Overflow != nil || c.Modules < 20 || c.Gorgonia != gorgonia || c.Precision != kernels.F32 {
			t.Errorf("%s: first %v, overflow %v, %d modules, gorgonia %v, %v", c.Component, c.First, c.Overflow, c.Modules, c.Gorgonia, c.Precision)
		}
		t.Logf("%s: %v", c.Component, c.Worst)
	}
}

// TestCheck: every kernel of the CPU computes the models as gorgonia's machine does.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, variant := range cpuDevice(t).Info().Variants {
		dev, err := cpu.New(cpu.Options{Variant: variant})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		found := checked(t, dev, "synth:tiny", CheckOptions{Progress: func(component string) { names = append(names, component) }})
		agree(t, found, true)
		if got := strings.Join(names, " "); got != "text_encoder text_encoder_2 unet vae.encoder vae.decoder" || len(found) != len(names) {
			t.Errorf("%s: checked %s, found %d", variant, got, len(found))
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCheckModels: of a refiner, of a model with trained weights, and of a size that is too much for gorgonia's machine.
func TestCheckModels(t *testing.T) {
	t.Parallel()
	dev := cpuDevice(t)
	found := checked(t, dev, "synth:tiny-refiner", CheckOptions{})
	agree(t, found, true)
	if found[0].Component != "text_encoder_2" || len(found) != 4 {
		t.Errorf("a refiner: %d components, first %s", len(found), found[0].Component)
	}
	demo := openDemoFolder(t, dev, 0)
	found, err := demo.Check(t.Context(), CheckOptions{})
	if err != nil {
		t.Fatal(err)
	}
	agree(t, found, true)
	if found, err = demo.Check(t.Context(), CheckOptions{Width: 256, Height: 192}); err != nil {
		t.Fatal(err)
	}
	agree(t, found[:2], true) // text has the size that it has
	agree(t, found[2:], false)
}

// mistaken is a device that computes some operations with another specification.
type mistaken struct {
	kernels.Device
	mistake func(kernels.Node) kernels.Spec // nil for those that it computes as they are
}

func (d *mistaken) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	plan := &kernels.Plan{Tensors: p.Tensors}
	for _, n := range p.Nodes {
		if s := d.mistake(n); s != nil {
			n.Spec = s
		}
		plan.Nodes = append(plan.Nodes, n)
	}
	return d.Device.Compile(plan, w, o)
}

// TestCheckWrongKernel: of a kernel that is wrong from somewhere on, the first module that uses it is named, and the
// components that do not use it agree.
func TestCheckWrongKernel(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		mistake func(kernels.Node) kernels.Spec
		first   map[string]string // by component
	}{
		{"the norms of one level", func(n kernels.Node) kernels.Spec {
			s, ok := n.Spec.(kernels.GroupNorm)
			if !ok || !strings.HasPrefix(n.Path, "up_blocks.1.") {
				return nil
			}
			s.Eps = 1e-2
			return s
		}, map[string]string{"unet": "up_blocks.1.resnets.0.norm1: unfused differs from gorgonia"}},
		{"the activation of fused convolutions", func(n kernels.Node) kernels.Spec {
			s, ok := n.Spec.(kernels.Conv2d)
			if !ok || !s.Residual {
				return nil
			}
			s.Act = kernels.SiLU
			return s
		}, map[string]string{
			"unet":        "down_blocks.0.resnets.0.conv2: fused differs from gorgonia",
			"vae.encoder": "encoder.down_blocks.0.resnets.0.conv2: fused differs from gorgonia",
			"vae.decoder": "decoder.mid_block.resnets.0.conv2: fused differs from gorgonia",
		}},
	} {
		for _, found := range checked(t, &mistaken{cpuDevice(t), c.mistake}, "synth:tiny", CheckOptions{}) {
			want, wrong := c.first[found.Component]
			if wrong != (found.First != nil) || wrong && !strings.HasPrefix(found.First.String(), want) {
				t.Errorf("%s: %s: first is %v, want %q", c.name, found.Component, found.First, want)
			}
			if len(found.BrokenWeights) > 0 {
				t.Errorf("%s: %s: weights %q hold NaN or Inf", c.name, found.Component, found.BrokenWeights)
			}
		}
	}
}

// TestCheckBrokenWeights: NaN is found at the module that has it, with the tensor's name; where it is an encoder's, the
// UNet is checked all the same.
func TestCheckBrokenWeights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ file, tensor, component, first string }{
		{"unet/diffusion_pytorch_model.safetensors", "mid_block.resnets.1.conv1.bias", "unet", "mid_block.resnets.1.conv1"},
		{"text_encoder_2/model.safetensors", "text_model.encoder.layers.1.mlp.fc2.bias", "text_encoder_2", "text_model.encoder.layers.1.mlp.fc2"},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := Synthesise(t.Context(), "tiny", kernels.F32, dir); err != nil {
			t.Fatal(err)
		}
		rewrite(t, filepath.Join(dir, filepath.FromSlash(c.file)), func(all map[string]weights.Tensor) {
			x := all[c.tensor]
			data, err := x.Data()
			if err != nil {
				t.Fatal(err)
			}
			data = slices.Clone(data)
			binary.LittleEndian.PutUint32(data, math.Float32bits(float32(math.NaN())))
			all[c.tensor] = weights.NewTensor(c.tensor, kernels.F32, x.Shape, data)
		})
		for _, found := range checked(t, cpuDevice(t), dir, CheckOptions{}) {
			if found.Component != c.component {
				if found.First != nil || found.BrokenWeights != nil {
					t.Errorf("%s: %s: first is %v, weights %q", c.tensor, found.Component, found.First, found.BrokenWeights)
				}
				continue
			}
			if f := found.First; f == nil || !f.NotFinite || f.Path != c.first || !slices.Equal(found.BrokenWeights, []string{c.tensor}) {
				t.Errorf("%s: first is %v, weights %q", c.tensor, f, found.BrokenWeights)
			}
		}
	}
}

// halved is the CPU in the place of a card: what it computes in fp16 is Inf, in bf16 right.
type halved struct{ kernels.Device }

type overflowing struct{ kernels.Program }

func (d halved) Info() kernels.Info {
	info := d.Device.Info()
	info.Precisions = []kernels.DType{kernels.F16, kernels.BF16}
	return info
}

func (d halved) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	program, err := d.Device.Compile(p, w, kernels.Options{})
	if err == nil && o.Precision != kernels.BF16 {
		program = overflowing{program}
	}
	return program, err
}

func (p overflowing) Read(ctx context.Context, v kernels.Value, dst []byte) error {
	err := p.Program.Read(ctx, v, dst)
	binary.LittleEndian.PutUint32(dst, math.Float32bits(float32(math.Inf(1))))
	return err
}

// TestCheckOverflow: what overflows in fp16, where the model computes again in bf16, is compared in bf16, and it says so.
func TestCheckOverflow(t *testing.T) {
	t.Parallel()
	for _, c := range checked(t, halved{cpuDevice(t)}, "synth:tiny", CheckOptions{}) {
		if c.Overflow == nil || !c.Overflow.NotFinite || c.Precision != kernels.BF16 || c.First != nil || c.BrokenWeights != nil {
			t.Errorf("%s: overflow %v, then %v, first %v, weights %q", c.Component, c.Overflow, c.Precision, c.First, c.BrokenWeights)
		}
	}
}

// TestCheckErrors: sizes, memory, parts that do not fit, and the end of ctx, which leaves what was done before.
func TestCheckErrors(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	for _, c := range []struct {
		o    CheckOptions
		want string
	}{
		{CheckOptions{Width: 60}, "width is 60: must be a multiple of 8 from 8 to 8192"},
		{CheckOptions{Height: -8}, "height is -8: must be a multiple of 8"},
	} {
		var request *RequestError
		if found, err := m.Check(t.Context(), c.o); !errors.As(err, &request) || !strings.Contains(err.Error(), c.want) || found != nil {
			t.Errorf("%+v: %v, %v; want %q", c.o, found, err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	found, err := m.Check(ctx, CheckOptions{Progress: func(component string) {
		if component == "unet" {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) || len(found) != 2 || !strings.HasPrefix(err.Error(), "unet: ") {
		t.Errorf("cancelled: %v, found %d", err, len(found))
	}
	if _, err := m.Check(ctx, CheckOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
	own := m.VAE
	m.VAE = nil
	var model *ModelError
	if _, err := m.Check(t.Context(), CheckOptions{}); !errors.As(err, &model) || !strings.Contains(err.Error(), "a part is nil") {
		t.Errorf("without a VAE: %v", err)
	}
	m.VAE = own

	dev, err := cpu.New(cpu.Options{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	small, err := Open(t.Context(), "synth:tiny", Options{Host: hostOf(dev)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := small.Check(t.Context(), CheckOptions{Width: 1024, Height: 1024}); !errors.Is(err, kernels.ErrMemory) || !strings.HasPrefix(err.Error(), "unet: ") {
		t.Errorf("with 64 MiB: %v", err)
	}
	if err := errors.Join(small.Close(), dev.Close()); err != nil {
		t.Error(err)
	}
}

// TestCheckDuringRun: a run goes on after a check as if nothing had been.
func TestCheckDuringRun(t *testing.T) {
	t.Parallel()
	m := newModels(t).open("tiny")
	request := Request{Prompt: "a lighthouse", Seed: new(uint64(7)), Steps: 2, LatentsOnly: true}
	want, err := m.Generate(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	run, err := m.Start(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close()
	for run.Next() {
		if err := run.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Check(t.Context(), CheckOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := run.Latents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Data, want.Latents.Data) {
		t.Error("the latents are other ones after a check")
	}
}
