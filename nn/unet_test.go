package nn_test

import (
	"os"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// tinyUNet is a whole tiny UNet on the inputs of a golden. Its output is "out".
func tinyUNet(t *testing.T) (s nn.Subject, want []float32) {
	t.Helper()
	const file = "../models/sdxl/synthetic/tiny/unet/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := unet.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	model := unet.New(config)
	src, err := nn.Bind(model, weights.Synthetic("unet", nn.Shapes(model), kernels.F32))
	if err != nil {
		t.Fatal(err)
	}
	g := golden.Open(t, "../testdata/goldens/tiny.safetensors")
	inputs := map[string]any{}
	shapes := map[string][]int{}
	for name, key := range map[string]string{
		"sample": "unet.1.sample", "text": "unet.context", "pooled": "unet.text_embeds", "ids": "unet.time_ids",
	} {
		data, shape := g.Floats(key)
		if name == "sample" {
			data = golden.ChannelsLast(data, shape)
			shape = []int{shape[0], shape[2], shape[3], shape[1]}
		}
		inputs[name], shapes[name] = data, shape
	}
	timestep, _ := g.Floats("unet.1.timestep")
	inputs["timestep"] = []float32{timestep[0], timestep[0]}
	build := func(b *nn.Builder) {
		b.Output("out", model.Forward(b, unet.Inputs{
			Sample:   b.Input("sample", kernels.Step, kernels.F32, shapes["sample"]...),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, 2, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, shapes["text"]...),
			Pooled:   b.Input("pooled", kernels.Request, kernels.F32, shapes["pooled"]...),
			TimeIDs:  b.Input("ids", kernels.Request, kernels.F32, shapes["ids"]...),
		}))
	}
	out, shape := g.Floats("unet.1.output")
	return nn.Subject{Source: src, Build: build, Inputs: inputs}, golden.ChannelsLast(out, shape)
}

// TestUNetOnGorgonia runs a whole tiny UNet, with every fusion, on gorgonia's own machine and compares it with
// diffusers.
func TestUNetOnGorgonia(t *testing.T) {
	s, want := tinyUNet(t)
	graph, err := nn.Build(nil, s.Build)
	if err != nil {
		t.Fatal(err)
	}
	out, err := graph.RunOnGorgonia(s.Source, s.Inputs)
	if err != nil {
		t.Fatal(err)
	}
	golden.Near(t, "output", out["out"], want, 1e-5)
}

// mistaken is a device that computes the layer norm of one module with another epsilon.
type mistaken struct {
	kernels.Device
	path string
}

func (d mistaken) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	plan := &kernels.Plan{Tensors: p.Tensors, Nodes: slices.Clone(p.Nodes)}
	for i, n := range plan.Nodes {
		if s, ok := n.Spec.(kernels.LayerNorm); ok && n.Path == d.path {
			plan.Nodes[i].Spec = kernels.LayerNorm{Eps: s.Eps + 0.5} // far beyond what half a precision rounds
		}
	}
	return d.Device.Compile(plan, w, o)
}

// TestCompareUNet: every module of a tiny UNet is what gorgonia's machine gives, in every precision of a device, and of
// a device with a wrong kernel the module is named.
func TestCompareUNet(t *testing.T) {
	t.Run("cpu", func(t *testing.T) {
		dev, err := cpu.New(cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		compareUNet(t, dev)
	})
	t.Run("cuda", func(t *testing.T) {
		dev, err := cuda.Open(cuda.Options{})
		if err != nil {
			require.Lacks(t, "cuda", err)
		}
		compareUNet(t, dev)
	})
}

// compareUNet closes the device.
func compareUNet(t *testing.T, dev kernels.Device) {
	t.Cleanup(func() {
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	s, _ := tinyUNet(t)
	s.Gorgonia = true
	for _, precision := range dev.Info().Precisions {
		s.Options.Precision = precision
		found, err := nn.Compare(t.Context(), dev, s)
		if err != nil {
			t.Fatal(err)
		}
		if found.First != nil {
			t.Errorf("%v: %v", precision, found.First)
		}
		t.Logf("%v: %d modules, the worst %v", precision, found.Modules, found.Worst)

		const path = "down_blocks.1.attentions.1.transformer_blocks.0.norm2"
		found, err = nn.Compare(t.Context(), mistaken{dev, path}, s)
		if err != nil {
			t.Fatal(err)
		}
		if found.First == nil || found.First.Path != path || found.First.Against != "gorgonia" {
			t.Errorf("%v: the wrong module is %s, named %v", precision, path, found.First)
		}
	}
}
