package unet_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestTaps: blocks are read without changing a bit of the prediction, every module has a path that the checkpoint has,
// and a cross-attention that gives nothing is one whose text does not matter.
func TestTaps(t *testing.T) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	const file = "../sdxl/synthetic/tiny/unet/config.json"
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
	g := golden.Open(t, "../../testdata/goldens/tiny.safetensors")
	plain := call(t, d, g, "unet.0.")

	seen := map[string]*nn.Tensor{}
	read := func(path string, x *nn.Tensor) { seen[path] = x }
	var probabilities []*nn.Tensor
	got := call(t, d, g, "unet.0.",
		nn.Tap{Path: "*_blocks.*.resnets.*", Read: read}, nn.Tap{Path: "**.attentions.*", Read: read},
		nn.Tap{Path: "**.transformer_blocks.*", Read: read}, nn.Tap{Path: "mid_block", Read: read},
		nn.Tap{Path: "conv_*", Read: read}, nn.Tap{Path: "down_blocks.*", Read: read},
		nn.Tap{Path: "**.attn2", Probabilities: func(path string, p *nn.Tensor) { probabilities = append(probabilities, p) }})
	if !slices.Equal(seen["conv_out"].Data, got) {
		t.Error("conv_out is not the prediction")
	}
	// conv_norm_out is read before its activation, which is therefore computed apart.
	golden.Near(t, "prediction with taps", got, plain, 1e-6)
	for _, path := range []string{"conv_in", "down_blocks.0", "down_blocks.1.attentions.0", "mid_block", "mid_block.attentions.0.transformer_blocks.0"} {
		if seen[path] == nil {
			t.Errorf("%s was not read", path)
		}
	}
	got = call(t, d, g, "unet.0.", nn.Tap{Path: "**.resnets.*", Read: read}, nn.Tap{Path: "**.attentions.*", Read: read})
	if !slices.Equal(got, plain) {
		t.Error("reading blocks changes the prediction")
	}
	tokens := probabilities[0].Shape[3]
	for _, p := range probabilities {
		for i := range p.Len() / tokens {
			sum := float32(0)
			for _, v := range p.Data[i*tokens:][:tokens] {
				sum += v
			}
			if sum < 1-1e-5 || sum > 1+1e-5 {
				t.Fatalf("probabilities %v: row %d adds up to %v", p.Shape, i, sum)
			}
		}
	}

	// What every cross-attention adds is nothing: then the text must not reach the prediction.
	nothing := nn.Tap{Path: "**.attn2", Replace: func(_ string, x *nn.Tensor) *nn.Tensor { clear(x.Data); return x }}
	without := call(t, d, g, "unet.0.", nothing)
	if slices.Equal(without, plain) {
		t.Error("cross-attention replaced by nothing changes nothing")
	}
	noise := call(t, d, g, "unet.0.", nn.Tap{Path: "**.attn2.to_v", Replace: func(_ string, x *nn.Tensor) *nn.Tensor {
		clear(x.Data)
		return x
	}}, nn.Tap{Path: "**.attn2.to_out.0", Replace: nothing.Replace})
	golden.Near(t, "to_out.0 in place of attn2", noise, without, 1e-6)
}

// TestModulesHavePathsOfTheCheckpoint: every path that taps can name is that of tensors.
func TestModulesHavePathsOfTheCheckpoint(t *testing.T) {
	const file = "../sdxl/synthetic/tiny/unet/config.json"
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
	modules, err := nn.Modules(func(b *nn.Builder) {
		b.Output("out", model.Forward(b, unet.Inputs{
			Sample:   b.Input("sample", kernels.Step, kernels.F32, 1, 8, 8, config.InChannels),
			Timestep: b.Input("timestep", kernels.Step, kernels.F32, 1, 1),
			Text:     b.Input("text", kernels.Request, kernels.F32, 1, 7, config.Context()),
			Pooled:   b.Input("pooled", kernels.Request, kernels.F32, 1, config.ProjectionInputDim-6*config.AdditionTimeDim),
			TimeIDs:  b.Input("ids", kernels.Request, kernels.F32, 1, 6),
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, m := range modules {
		if paths[m.Path] {
			t.Errorf("%s is there twice", m.Path)
		}
		paths[m.Path] = true
		if !slices.ContainsFunc(src.Names(), func(name string) bool { return strings.HasPrefix(name, m.Path+".") }) {
			t.Errorf("no tensor belongs to %s", m.Path)
		}
	}
	for _, name := range src.Names() {
		layer := name[:strings.LastIndexByte(name, '.')]
		if !paths[layer] {
			t.Errorf("taps cannot name the layer %s", layer)
		}
	}
}

// TestTooFewSkips: levels that do not fit together are an error that says so, not a panic of the build.
func TestTooFewSkips(t *testing.T) {
	c := unet.LevelConfig{In: 4, Out: 4, Layers: 2, Embedding: 4, Groups: 2, Eps: 1e-5}
	level := unet.NewUpLevel(c, []int{4, 4})
	if _, err := nn.Bind(level, weights.Synthetic("level", nn.Shapes(level), kernels.F32)); err != nil {
		t.Fatal(err)
	}
	_, err := nn.Build(nil, func(b *nn.Builder) {
		x := b.Input("x", kernels.Step, kernels.F32, 1, 4, 4, 4)
		level.Up(b, x, b.Input("emb", kernels.Step, kernels.F32, 1, 4), nil, []*nn.Value{x})
	})
	if err == nil || !strings.Contains(err.Error(), "reads 2 skips, and there are 1") {
		t.Errorf("error %v", err)
	}
}
