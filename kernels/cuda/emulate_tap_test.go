//go:build emulate

package cuda

import (
	"os"
	"slices"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda/driver"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	checkpoint "github.com/goxl/goxl/nn/weights"
)

// TestEmulatedTaps: every module of a tiny UNet is what gorgonia's machine gives, in both precisions; and a prediction whose
// modules are read, or replaced by themselves, is at most twice as far from diffusers' as one without taps and half a
// unit of the precision.
func TestEmulatedTaps(t *testing.T) {
	drv, err := driver.New(newEmulator(t))
	if err != nil {
		t.Fatal(err)
	}
	d, err := open(drv, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const file = "../../models/sdxl/synthetic/tiny/unet/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := unet.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	model := unet.New(config)
	src, err := nn.Bind(model, checkpoint.Synthetic("unet", nn.Shapes(model), kernels.F32))
	if err != nil {
		t.Fatal(err)
	}
	g := golden.Open(t, "../../testdata/goldens/tiny.safetensors")
	inputs := map[string]any{}
	shapes := map[string][]int{}
	for name, key := range map[string]string{"sample": "unet.0.sample", "text": "unet.context", "pooled": "unet.text_embeds", "ids": "unet.time_ids"} {
		data, shape := g.Floats(key)
		if name == "sample" {
			data = golden.ChannelsLast(data, shape)
			shape = []int{shape[0], shape[2], shape[3], shape[1]}
		}
		inputs[name], shapes[name] = data, shape
	}
	timestep, _ := g.Floats("unet.0.timestep")
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
	want, shape := g.Floats("unet.0.output")
	want = golden.ChannelsLast(want, shape)
	for precision, unit := range map[kernels.DType]float64{kernels.F16: 0x1p-11, kernels.BF16: 0x1p-8} {
		found, err := nn.Compare(t.Context(), d, nn.Subject{
			Source: src, Build: build, Inputs: inputs, Options: kernels.Options{Precision: precision}, Gorgonia: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		if found.First != nil {
			t.Errorf("%v: %v", precision, found.First)
		}
		t.Logf("%v: %d modules, the worst %v", precision, found.Modules, found.Worst)

		network, err := nn.NewNetwork(d, src, kernels.Options{Precision: precision})
		if err != nil {
			t.Fatal(err)
		}
		predict := func(taps ...nn.Tap) []float32 {
			t.Helper()
			p, err := network.Program("prediction", build, taps...)
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range inputs {
				if err := p.SetFloats(name, data.([]float32)...); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			out := make([]float32, len(want))
			if err := p.Floats(t.Context(), "out", out); err != nil {
				t.Fatal(err)
			}
			return out
		}
		plain := predict()
		distance, err := golden.Distance(plain, want)
		if err != nil {
			t.Fatal(err)
		}
		golden.Near(t, precision.String()+" without taps", plain, want, 1)
		read := func(string, *nn.Tensor) {}
		same := func(string, *nn.Tensor) *nn.Tensor { return nil }
		for what, taps := range map[string][]nn.Tap{
			"every module read":      {{Path: "**", Read: read}},
			"blocks read":            {{Path: "**.resnets.*", Read: read}, {Path: "**.attentions.*", Read: read}},
			"probabilities":          {{Path: "**.attn*", Probabilities: read}},
			"cross-attention by own": {{Path: "**.attn2", Replace: same}},
			"middle by own":          {{Path: "mid_block", Replace: same}, {Path: "mid_block.*.*", Replace: same}},
			"output by own":          {{Path: "conv_out", Replace: same}},
		} {
			got := predict(taps...)
			golden.Near(t, precision.String()+" "+what, got, want, 2*distance+unit)
			if slices.Equal(got, plain) {
				t.Logf("%v %s: not a bit differs", precision, what)
			}
		}
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
