package sdxl_test

import (
	"context"
	"fmt"
	"log"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/nn"
)

// ownForward is the UNet's computation written out, on the modules of a model that is open. Its middle may be left out.
type ownForward struct {
	*unet.Model
	middle bool
}

// Forward implements unet.Predictor. Images are [B, H, W, C].
func (m *ownForward) Forward(b *nn.Builder, in unet.Inputs) *nn.Value {
	emb := b.Activate(m.Embed(b, in), kernels.SiLU)
	x := m.ConvIn.Forward(b, in.Sample)
	skips := []*nn.Value{x}
	for _, level := range m.DownBlocks {
		x, skips = level.Down(b, x, emb, in.Text, skips)
	}
	if m.middle {
		x = m.MidBlock.Forward(b, x, emb, in.Text)
	}
	for _, level := range m.UpBlocks {
		x, skips = level.Up(b, x, emb, in.Text, skips)
	}
	return m.ConvOut.Forward(b, m.ConvNormOut.Forward(b, x, nil, kernels.SiLU))
}

// A UNet whose computation is one's own, on the weights that the model has loaded: a part of the model that is replaced.
// One with weights of its own comes from unet.OpenModel, and Host.Manage manages it.
func ExampleModel_unet() {
	ctx := context.Background()
	model, done := openTiny(sdxl.Options{})
	defer done()
	r := sdxl.Request{Prompt: "a red apple", Steps: 2, Seed: new(uint64(1)), LatentsOnly: true}
	generate := func() []float32 {
		result, err := model.Generate(ctx, r)
		if err != nil {
			log.Fatal(err)
		}
		return result.Latents.Data
	}
	original := model.UNet
	want := generate()
	for _, middle := range []bool{true, false} {
		own := &ownForward{original.Model.(*unet.Model), middle}
		model.UNet = &unet.Denoiser{Network: original.Network, Config: original.Config, Model: own}
		same := 0
		for i, v := range generate() {
			if v == want[i] {
				same++
			}
		}
		fmt.Printf("middle %v: %d of %d latents stay the same\n", middle, same, len(want))
	}
	// Output:
	// middle true: 256 of 256 latents stay the same
	// middle false: 0 of 256 latents stay the same
}
