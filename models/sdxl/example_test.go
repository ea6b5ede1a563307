package sdxl_test

import (
	"context"
	"fmt"
	"image"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
)

// openTiny opens the tiny random base on the CPU. close frees model and device.
func openTiny(o sdxl.Options) (model *sdxl.Model, close func()) {
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if o.Host, err = sdxl.NewHost(dev, nil); err != nil {
		log.Fatal(err)
	}
	model, err = sdxl.Open(context.Background(), "synth:tiny", o)
	if err != nil {
		log.Fatal(err)
	}
	return model, func() {
		model.Close()
		dev.Close()
	}
}

// One image from text. A field of the request that is not given takes the model's own value.
func ExampleModel_Generate() {
	model, done := openTiny(sdxl.Options{})
	defer done()
	result, err := model.Generate(context.Background(), sdxl.Request{Prompt: "a lighthouse at dusk", Steps: 4, Seed: new(uint64(1))})
	if err != nil {
		log.Fatal(err)
	}
	p := result.Parameters
	fmt.Println(result.Images[0].Bounds().Size(), p.Task, p.Steps, "steps of", p.Scheduler, "with guidance", p.Guidance)
	// Output: (64,64) text-to-image 4 steps of euler with guidance 5
}

// Two images in one batch, of prompt embeddings that are mixed by hand: prompt_embeds [N, T, C] and pooled_prompt_embeds
// [N, P]. Every fifth step is decoded as a preview.
func ExampleModel_EncodePrompt() {
	ctx := context.Background()
	model, done := openTiny(sdxl.Options{})
	defer done()
	e, _, err := model.EncodePrompt(ctx, 0, sdxl.Prompt{Prompt: "a cat"}, sdxl.Prompt{Prompt: "a dog"})
	if err != nil {
		log.Fatal(err)
	}
	// The second image becomes three quarters cat, one quarter dog.
	for _, t := range []*sdxl.Tensor{e.Prompt, e.Pooled} {
		n := t.Len() / 2
		cat, dog := t.Data[:n], t.Data[n:]
		for i := range dog {
			dog[i] = 0.75*cat[i] + 0.25*dog[i]
		}
	}
	previews := 0
	r := sdxl.Request{Embeddings: e, Steps: 10, Seeds: []uint64{1, 1}}
	r.OnStep = func(step int, latents *sdxl.Tensor) error {
		if step%5 != 0 {
			return nil
		}
		images, err := model.Decode(ctx, latents)
		previews += len(images)
		return err
	}
	result, err := model.Generate(ctx, r)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("embeddings", e.Prompt.Shape, e.Pooled.Shape)
	fmt.Println(len(result.Images), "images,", previews, "previews, latents", result.Latents.Shape)
	// Output:
	// embeddings [2 77 80] [2 48]
	// 2 images, 4 previews, latents [2 4 8 8]
}

// Image-to-image on a base, with another VAE.
func ExampleOptions_vAE() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "goxl")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	folder := filepath.Join(dir, "another")
	if err := sdxl.Synthesise(ctx, "tiny", kernels.F32, folder); err != nil {
		log.Fatal(err)
	}
	model, done := openTiny(sdxl.Options{VAE: filepath.Join(folder, "vae")}) // or its .safetensors file
	defer done()
	source := image.NewNRGBA(image.Rect(0, 0, 48, 40))
	result, err := model.Generate(ctx, sdxl.Request{Prompt: "a lighthouse", Image: source, Strength: 0.5, Steps: 8, Seed: new(uint64(1))})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Parameters.Task, result.Images[0].Bounds().Size(), "in", result.Steps, "of", result.Parameters.Steps, "steps")
	// Output: image-to-image (48,40) in 4 of 8 steps
}

// A base denoises up to 80 % of the steps, and a refiner the rest.
func ExampleEnsemble() {
	ctx := context.Background()
	base, done := openTiny(sdxl.Options{})
	defer done()
	refiner, err := sdxl.Open(ctx, "synth:tiny-refiner", sdxl.Options{Base: base})
	if err != nil {
		log.Fatal(err)
	}
	defer refiner.Close()
	r := sdxl.Request{Prompt: "a lighthouse at dusk", Steps: 10, Seed: new(uint64(1))}
	result, err := sdxl.Ensemble(ctx, r, sdxl.Expert{Model: base, DenoisingEnd: 0.8}, sdxl.Expert{Model: refiner})
	if err != nil {
		log.Fatal(err)
	}
	var names []string
	for _, e := range result.Parameters.Experts {
		names = append(names, fmt.Sprintf("%s up to %v", e.Model, e.DenoisingEnd))
	}
	fmt.Println(result.Steps, "steps:", strings.Join(names, ", "))
	// Output: 10 steps: synth:tiny up to 0.8, synth:tiny-refiner up to 1
}
