// Package tinyunet is a whole tiny UNet with diffusers' output, for tests of what computes one.
package tinyunet

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// Subject is the tiny UNet of synth:tiny on the inputs of golden call number call, of the tree whose root is the
// directory root. Its output is "out", [B, H, W, C], which is want in diffusers.
func Subject(t *testing.T, root string, call int) (s nn.Subject, want []float32) {
	t.Helper()
	file := filepath.Join(root, "models/sdxl/synthetic/tiny/unet/config.json")
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
	g := golden.Open(t, filepath.Join(root, "testdata/goldens/tiny.safetensors"))
	name := func(tensor string) string { return fmt.Sprintf("unet.%d.%s", call, tensor) }
	inputs := map[string]any{}
	shapes := map[string][]int{}
	for input, key := range map[string]string{
		"sample": name("sample"), "text": "unet.context", "pooled": "unet.text_embeds", "ids": "unet.time_ids",
	} {
		data, shape := g.Floats(key)
		if input == "sample" {
			data = golden.ChannelsLast(data, shape)
			shape = []int{shape[0], shape[2], shape[3], shape[1]}
		}
		inputs[input], shapes[input] = data, shape
	}
	timestep, _ := g.Floats(name("timestep"))
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
	out, shape := g.Floats(name("output"))
	return nn.Subject{Source: src, Build: build, Inputs: inputs}, golden.ChannelsLast(out, shape)
}
