package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

var generateCommand = command{
	name: "generate", summary: "draw pictures from text", synopsis: "[-model DIR] -prompt TEXT [-o out.png] [flags]",
	notes: `The same model, prompt, seed and settings give the same picture. How a picture was made is stored
in the PNG's text chunks, under diffusers' names and as A1111's parameters; goxl inspect prints them.
With -refiner, the model draws up to the share -denoising-end of the steps, and the refiner draws
the rest.

    goxl generate -prompt "a red apple and a blue car on a green background"
    goxl generate -prompt "a rocket in the night sky" -refiner demo
    goxl generate -prompt "a cat" -o - | convert - cat.jpg
    goxl generate -model stable-diffusion-xl-base-1.0 -prompt "a lighthouse at dusk" -seed 1
    goxl generate -model synth:tiny -prompt "" -steps 2`,
	required: []string{"prompt"},
	define: func(fs *flag.FlagSet) action {
		g := &generation{}
		fs.StringVar(&g.model, "model", cli.Demo, fmt.Sprintf(modelUsage, "synth:base or synth:tiny", ""))
		fs.IntVar(&g.width, "width", 0, "`pixels`, a multiple of 8 up to 8192; 0 is the model's own size")
		fs.IntVar(&g.height, "height", 0, "`pixels`, a multiple of 8 up to 8192; 0 is the model's own size")
		fs.StringVar(&g.refiner, "refiner", "", "draw the last steps with this refiner: demo, which belongs to -model demo, a `DIR`, synth:refiner or synth:tiny-refiner")
		fs.StringVar(&g.latents, "latents", "", "a safetensors `file` with the initial noise, of unit variance, in place of the seed's: tensor \"latents\", F32, [n, 4, height/8, width/8]")
		g.registerEnd(fs, "stop at this `share` of the steps, above 0 and below 1; with -refiner, which goes on from there, it is "+strconv.FormatFloat(defaultSplit, 'g', -1, 64)+" unless given")
		g.register(fs)
		return g.run
	},
}

// defaultSplit is the share of the steps that a base draws before its refiner.
const defaultSplit = 0.8

// generation is the flags of generate.
type generation struct {
	drawing
	width, height    int
	refiner, latents string
}

func (g *generation) run(ctx context.Context, s streams, _ string) (err error) {
	if err := g.check(s, side{"width", g.width}, side{"height", g.height}); err != nil {
		return err
	}
	var noise *sdxl.Latents
	if g.latents != "" {
		if noise, err = readLatents(g.latents); err != nil {
			return err
		}
	}
	notes, start := g.notes(s), time.Now()
	device, precision, err := g.device.Open(func(line string) { fmt.Fprintln(notes, line) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()

	base, err := cli.OpenModel(g.model, g.options(device, precision, s))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	var refiner *sdxl.Pipeline
	if g.refiner != "" {
		if refiner, err = cli.OpenRefiner(base, g.refiner); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, refiner.Close()) }()
	}
	tellOpened(notes, base.Info(), device.Info(), start)

	r := g.request(base)
	r.Width, r.Height, r.Latents = g.width, g.height, noise
	if err := base.Check(r, false); err != nil {
		return asUsage(err, false)
	}
	r.Seed = g.chooseSeed(s)
	w := drawn{info: base.Info()}
	if refiner == nil {
		w.result, err = g.compute(s, &r, func() (*sdxl.Result, error) { return base.Generate(ctx, r) })
		w.end = r.DenoisingEnd
	} else {
		split := defaultSplit
		if g.denoisingEnd != nil {
			split = *g.denoisingEnd
		}
		r.DenoisingEnd = 0 // the refiner goes to the end
		w.result, err = g.compute(s, &r, func() (*sdxl.Result, error) { return sdxl.Ensemble(ctx, base, refiner, r, split) })
		w.refiner, w.end = filepath.Base(refiner.Info().Path), split
	}
	if err != nil {
		return asUsage(err, false)
	}
	w.request = r
	return g.write(ctx, s, w)
}
