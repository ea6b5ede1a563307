package sdxl_test

import (
	"context"
	"fmt"
	"log"

	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
)

// A sampling loop of one's own: Euler's method written out, on the steps of the model's schedule.
func ExampleRun_Predict() {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	host, err := sdxl.NewHost(dev, nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	model, err := sdxl.Open(ctx, "synth:tiny", sdxl.Options{Host: host})
	if err != nil {
		log.Fatal(err)
	}
	defer model.Close()

	r := sdxl.Request{Prompt: "a lighthouse at dusk", Width: 64, Height: 64, Steps: 8, Seed: new(uint64(1)), Scheduler: "euler"}
	run, err := model.Start(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	defer run.Close()

	x, err := run.Latents(ctx)
	if err != nil {
		log.Fatal(err)
	}
	steps := run.Schedule().Steps
	for i, step := range steps {
		prediction, err := run.Predict(ctx, x, step.Timestep, step.InputScale)
		if err != nil {
			log.Fatal(err)
		}
		noise := prediction.Guided(5)
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
	run.Close()

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
	fmt.Println("values that differ by more than a level:", different)
	// Output: values that differ by more than a level: 0
}
