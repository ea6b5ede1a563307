package sdxl_test

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/nn"
)

// A sampler of one's own: Euler's method written out on the steps of the model's schedule, with classifier-free guidance
// applied outside of the model, in an interval of noise levels alone.
func ExampleRun_Predict() {
	ctx := context.Background()
	model, done := openTiny(sdxl.Options{})
	defer done()
	r := sdxl.Request{Prompt: "a lighthouse at dusk", Steps: 8, Seed: new(uint64(1)), Scheduler: "euler"}
	run, err := model.Start(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	defer run.Close()
	x, err := run.Latents(ctx) // [1, 4, H/8, W/8]
	if err != nil {
		log.Fatal(err)
	}
	steps, guided := run.Schedule().Steps, 0
	for i, step := range steps {
		p, err := run.Predict(ctx, x, step.Timestep, step.InputScale)
		if err != nil {
			log.Fatal(err)
		}
		noise := p.Conditional
		if step.Sigma > 0.5 && step.Sigma < 5 {
			noise = p.Guided(7)
			guided++
		}
		next := 0.0 // the noise level after this step
		if i+1 < len(steps) {
			next = steps[i+1].Sigma
		}
		for k := range x.Data {
			x.Data[k] += float32(next-step.Sigma) * noise.Data[k]
		}
	}
	if err := run.SetLatents(ctx, x); err != nil {
		log.Fatal(err)
	}
	mine, err := run.Finish(ctx)
	if err != nil {
		log.Fatal(err)
	}

	// The same, by a scale of guidance for each step.
	for _, step := range steps {
		scale := 1.0
		if step.Sigma > 0.5 && step.Sigma < 5 {
			scale = 7
		}
		r.GuidancePerStep = append(r.GuidancePerStep, scale)
	}
	theirs, err := model.Generate(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	different := 0
	for i, v := range mine.Images[0].Pix {
		if d := int(v) - int(theirs.Images[0].Pix[i]); d < -1 || d > 1 {
			different++
		}
	}
	fmt.Println(guided, "of", len(steps), "steps are guided; values that differ by more than a level:", different)
	// Output: 5 of 8 steps are guided; values that differ by more than a level: 0
}

// The cross-attention maps of one token as a PNG: softmax(q·kᵀ/√d) of every attn2 layer of the size of the latents,
// averaged over heads, layers and steps. Probabilities are [B, heads, queries, keys]: the queries are the positions of
// the latents, row after row, the keys are tokens, and with guidance the batch has the negative side first.
func ExampleRequest_attentionMaps() {
	const token = 3 // of "a red apple": 0 is the beginning of the text, then a, red, apple
	model, done := openTiny(sdxl.Options{})
	defer done()
	r := sdxl.Request{Prompt: "a red apple", Steps: 4, Seed: new(uint64(1)), LatentsOnly: true}
	var sum []float64
	maps := 0
	r.Taps.UNet = []nn.Tap{{Path: "**.attn2", Probabilities: func(_ string, p *nn.Tensor) {
		heads, queries := p.Shape[1], p.Shape[2]
		if sum == nil {
			sum = make([]float64, queries) // of the first layer, the widest that has attention
		}
		if queries != len(sum) {
			return
		}
		for h := range heads {
			for q := range queries {
				sum[q] += float64(p.At(1, h, q, token))
			}
		}
		maps += heads
	}}}
	if _, err := model.Generate(context.Background(), r); err != nil {
		log.Fatal(err)
	}
	side := 1
	for side*side < len(sum) {
		side++
	}
	highest := 0.0
	for _, v := range sum {
		highest = max(highest, v)
	}
	img := image.NewGray(image.Rect(0, 0, side, side))
	for i, v := range sum {
		img.SetGray(i%side, i/side, color.Gray{Y: uint8(255 * v / highest)})
	}
	if err := png.Encode(io.Discard, img); err != nil { // or into a file
		log.Fatal(err)
	}
	fmt.Printf("%d maps of %d×%d positions\n", maps, side, side)
	// Output: 40 maps of 4×4 positions
}

// A tap reads what modules compute, and replaces it: here the UNet's lowest level is switched off, as in experiments with
// its features. Images are [B, H, W, C] in taps.
func ExampleTaps() {
	ctx := context.Background()
	model, done := openTiny(sdxl.Options{})
	defer done()
	r := sdxl.Request{Prompt: "a red apple", Steps: 2, Seed: new(uint64(1)), LatentsOnly: true}
	plain, err := model.Generate(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	r.Taps.UNet = []nn.Tap{
		{Path: "mid_block", Replace: func(_ string, x *nn.Tensor) *nn.Tensor { return nn.NewTensor(x.Shape...) }},
		{Path: "conv_out", Read: func(path string, x *nn.Tensor) { fmt.Println(path, x.Shape) }},
	}
	changed, err := model.Generate(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	same := 0
	for i, v := range plain.Latents.Data {
		if v == changed.Latents.Data[i] {
			same++
		}
	}
	fmt.Println("latents that stay the same:", same)
	// Output:
	// conv_out [2 8 8 4]
	// conv_out [2 8 8 4]
	// latents that stay the same: 0
}
