package unet_test

import (
	"os"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// TestCrossAttentions counts those of the base, in the order of IP-Adapters' files: down, up, middle.
func TestCrossAttentions(t *testing.T) {
	const file = "../sdxl/synthetic/base/unet/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := unet.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	all := c.CrossAttentions()
	if len(all) != 70 {
		t.Fatalf("%d cross-attentions, want 70", len(all))
	}
	for i, want := range map[int]unet.CrossAttention{
		0: {"down_blocks.1.attentions.0", 640, 1}, 3: {"down_blocks.1.attentions.1", 640, 1}, 4: {"down_blocks.2.attentions.0", 1280, 2},
		24: {"up_blocks.0.attentions.0", 1280, 2}, 54: {"up_blocks.1.attentions.0", 640, 1}, 59: {"up_blocks.1.attentions.2", 640, 1},
		60: {"mid_block.attentions.0", 1280, 2}, 69: {"mid_block.attentions.0", 1280, 2},
	} {
		if all[i] != want {
			t.Errorf("cross-attention %d is %+v, want %+v", i, all[i], want)
		}
	}
}

// TestImagesOfAnother refuses image prompts for another number of cross-attentions.
func TestImagesOfAnother(t *testing.T) {
	const file = "../sdxl/synthetic/tiny/unet/config.json"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := unet.ParseConfig(data, file)
	if err != nil {
		t.Fatal(err)
	}
	m := unet.New(c)
	if _, err := nn.Bind(m, weights.Synthetic("unet", nn.Shapes(m), kernels.F32)); err != nil {
		t.Fatal(err)
	}
	_, err = nn.Build(nil, func(b *nn.Builder) {
		in := func(name string, shape ...int) *nn.Value { return b.Input(name, kernels.Step, kernels.F32, shape...) }
		m.Forward(b, unet.Inputs{
			Sample: in("x", 1, 8, 8, 4), Timestep: in("t", 1, 1), Text: in("text", 1, 7, c.Context()), Pooled: in("pooled", 1, 48), TimeIDs: in("ids", 1, 6),
			Images: make([][]unet.ImagePrompt, 16),
		})
	})
	if err == nil || !strings.Contains(err.Error(), "image prompts for 16 cross-attentions: must be for 17") {
		t.Errorf("error %v", err)
	}
}
