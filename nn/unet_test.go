package nn_test

import (
	"os"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestUNetOnGorgonia runs a whole tiny UNet, with every fusion, on gorgonia's own machine and compares it with diffusers.
func TestUNetOnGorgonia(t *testing.T) {
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
	for name, key := range map[string]string{"sample": "unet.1.sample", "text": "unet.context", "pooled": "unet.text_embeds", "ids": "unet.time_ids"} {
		data, shape := g.Floats(key)
		if name == "sample" {
			data = golden.ChannelsLast(data, shape)
			shape = []int{shape[0], shape[2], shape[3], shape[1]}
		}
		inputs[name], shapes[name] = data, shape
	}
	timestep, _ := g.Floats("unet.1.timestep")
	inputs["timestep"] = []float32{timestep[0], timestep[0]}
	graph, err := nn.Build(nil, func(b *nn.Builder) {
		b.Output("out", model.Forward(b, unet.Inputs{
			Sample:   b.Input("sample", kernels.Step, kernels.F32, shapes["sample"]...),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, 2, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, shapes["text"]...),
			Pooled:   b.Input("pooled", kernels.Request, kernels.F32, shapes["pooled"]...),
			TimeIDs:  b.Input("ids", kernels.Request, kernels.F32, shapes["ids"]...),
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := graph.RunOnGorgonia(src, inputs)
	if err != nil {
		t.Fatal(err)
	}
	want, shape := g.Floats("unet.1.output")
	golden.Near(t, "output", out["out"], golden.ChannelsLast(want, shape), 1e-5)
}
