package unet_test

import (
	"os"
	"testing"

	"github.com/goxl/goxl/internal/golden"
	"github.com/goxl/goxl/internal/require"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cuda"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestTapsOnCard: on a card, whose intermediates have 16 bits, a prediction whose blocks are read, or replaced by
// themselves, is at most twice as far from diffusers' as one without taps and half a unit of float16.
func TestTapsOnCard(t *testing.T) {
	dev, err := cuda.Open(cuda.Options{})
	if err != nil {
		require.Lacks(t, "cuda", err)
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
	src := weights.Synthetic("unet", nn.Shapes(unet.New(config)), kernels.F32)
	d, err := unet.Open(dev, src, config, kernels.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	g := golden.Open(t, "../../testdata/goldens/tiny.safetensors")
	want, shape := g.Floats("unet.0.output")
	want = golden.ChannelsLast(want, shape)
	plain, err := golden.Distance(call(t, d, g, "unet.0."), want)
	if err != nil {
		t.Fatal(err)
	}
	read := func(string, *nn.Tensor) {}
	same := func(string, *nn.Tensor) *nn.Tensor { return nil }
	for what, taps := range map[string][]nn.Tap{
		"every module read":      {{Path: "**", Read: read}},
		"blocks read":            {{Path: "**.resnets.*", Read: read}, {Path: "**.attentions.*", Read: read}},
		"probabilities":          {{Path: "**.attn*", Probabilities: read}},
		"cross-attention by own": {{Path: "**.attn2", Replace: same}},
		"middle by own":          {{Path: "mid_block", Replace: same}, {Path: "mid_block.*.*", Replace: same}},
	} {
		golden.Near(t, what, call(t, d, g, "unet.0.", taps...), want, 2*plain+0x1p-11)
	}
}
