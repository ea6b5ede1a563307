package unet_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestGoldens compares one call of every tiny configuration, at an even and an odd size, with diffusers.
func TestGoldens(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	for _, c := range []struct{ model, folder string }{
		{"tiny", "../sdxl/synthetic/tiny"},
		{"tiny-b", "../../testdata/models/tiny-b"},
		{"tiny-c", "../../testdata/models/tiny-c"},
		{"tiny-refiner", "../sdxl/synthetic/tiny-refiner"},
	} {
		t.Run(c.model, func(t *testing.T) {
			file := c.folder + "/unet/config.json"
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, err := unet.ParseConfig(data, file)
			if err != nil {
				t.Fatal(err)
			}
			d, err := unet.Open(dev, weights.Synthetic("unet", nn.Shapes(unet.New(config)), kernels.F32), config, kernels.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			g := golden.Open(t, "../../testdata/goldens/"+c.model+".safetensors")
			for i := range 2 {
				name := fmt.Sprintf("unet.%d.", i)
				want, shape := g.Floats(name + "output")
				golden.Near(t, name+"output", call(t, d, g, name), golden.ChannelsLast(want, shape), 1e-5)
			}
		})
	}
}

// call evaluates the model on the inputs of a golden; the result is [B, H, W, C].
func call(t *testing.T, d *unet.Denoiser, g *golden.File, name string, taps ...nn.Tap) []float32 {
	t.Helper()
	sample, s := g.Floats(name + "sample")
	text, ts := g.Floats("unet.context")
	pooled, ps := g.Floats("unet.text_embeds")
	ids, is := g.Floats("unet.time_ids")
	batch := s[0]
	p, err := d.Program(name, func(b *nn.Builder) {
		in := unet.Inputs{
			Sample:   b.Input("sample", kernels.Step, kernels.F32, batch, s[2], s[3], s[1]),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, batch, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, ts...),
			Pooled:   b.Input("pooled", kernels.Request, kernels.F32, ps...),
			TimeIDs:  b.Input("ids", kernels.Request, kernels.F32, is...),
		}
		if d.Config.TimeCondProjDim > 0 {
			in.Condition = b.Input("condition", kernels.Request, kernels.F32, batch, int(d.Config.TimeCondProjDim))
		}
		b.Output("out", d.Model.Forward(b, in))
	}, taps...)
	if err != nil {
		t.Fatal(err)
	}
	timestep, _ := g.Floats(name + "timestep")
	inputs := map[string][]float32{
		"sample": golden.ChannelsLast(sample, s), "timestep": {timestep[0], timestep[0]}, "text": text, "pooled": pooled, "ids": ids,
	}
	if d.Config.TimeCondProjDim > 0 {
		inputs["condition"], _ = g.Floats("unet.timestep_cond")
	}
	for name, data := range inputs {
		if err := p.SetFloats(name, data...); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	out := make([]float32, batch*s[2]*s[3]*d.Config.OutChannels)
	if err := p.Floats(context.Background(), "out", out); err != nil {
		t.Fatal(err)
	}
	return out
}
