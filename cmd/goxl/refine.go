package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/goxl/goxl/internal/cli"
)

var refineCommand = command{
	name: "refine", summary: "image-to-image with a refiner, or a base model", synopsis: "[-model MODEL] -image in.png -prompt TEXT [-o out.png] [flags]",
	notes: `The image is noised by -strength and denoised from there; the size is the image's, rounded
down to a multiple of 8. A refiner's folder that lacks the text encoder or the VAE takes them
from -base. The model demo is here the embedded refiner, with the embedded base.

    goxl refine -image out.png -prompt "a red apple" -o fine.png
    goxl refine -model stable-diffusion-xl-refiner-1.0 -image out.png -prompt "a lighthouse at dusk" -o fine.png

An ensemble of three experts goes from file to file:

    goxl generate -model A -prompt P -seed 1 -denoising-end 0.5 -save-latents a.safetensors
    goxl refine -model B -prompt P -seed 1 -image-latents a.safetensors -denoising-start 0.5 -denoising-end 0.8 -save-latents b.safetensors
    goxl refine -model REFINER -prompt P -seed 1 -image-latents b.safetensors -denoising-start 0.8`,
	define: func(fs *flag.FlagSet) action {
		g := &generateFlags{}
		fs.StringVar(&g.model, "model", cli.Demo, fmt.Sprintf(modelUsage, "synth:refiner or synth:tiny-refiner", "; it may be a base model too"))
		name(fs, "base", "the refiner's base, a `DIR`, demo, synth:base or synth:tiny, whose text encoder and VAE are used where the refiner's folder lacks them or holds the same; demo if -model is", &g.base)
		name(fs, "image", "the PNG, JPEG or WebP `file` to begin with, turned upright by its EXIF orientation; of an animation the first frame", &g.image)
		g.registerEnd(fs, "stop at this `fraction` of the steps, above 0 and below 1")
		g.register(fs)
		return func(ctx context.Context, s streams, operand string) error {
			if g.image == "" && g.imageLatents == "" {
				return cli.Usagef("missing -image")
			}
			if g.base == "" && g.model == cli.Demo {
				g.base = cli.Demo
			}
			return g.run(ctx, s, operand)
		}
	},
}
