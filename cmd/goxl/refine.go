package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

var refineCommand = command{
	name: "refine", summary: "redraw a picture, with a refiner or a base model", synopsis: "[-model DIR] -image in.png -prompt TEXT [-o out.png] [flags]",
	notes: `The picture is noised by -strength and drawn again from there; the size is the picture's, rounded
down to a multiple of 8. A refiner's folder that lacks the text encoder or the VAE takes them from -base. The model demo is
here the embedded refiner, with the embedded base.

    goxl refine -image out.png -prompt "a red apple" -o fine.png
    goxl refine -model stable-diffusion-xl-refiner-1.0 -image out.png -prompt "a lighthouse at dusk" -o fine.png`,
	required: []string{"image", "prompt"},
	define: func(fs *flag.FlagSet) action {
		r := &refinement{}
		fs.StringVar(&r.model, "model", cli.Demo, fmt.Sprintf(modelUsage, "synth:refiner or synth:tiny-refiner", "; a DIR may hold a base model, which redraws pictures too"))
		fs.StringVar(&r.base, "base", "", "the refiner's base, demo if -model is; share text encoder and VAE with the base model in this `DIR`, demo, synth:base or synth:tiny, where the refiner's folder lacks them or holds the same")
		fs.StringVar(&r.image, "image", "", "the PNG, JPEG or WebP `file` to redraw, turned upright as its EXIF orientation says; of an animation the first frame")
		fs.Func("strength", fmt.Sprintf("`share` of the steps to redraw, above 0, up to 1, which keeps next to nothing; without it the model's own, or %v", sdxl.NewRequest("").Strength),
			func(s string) error {
				f, err := strconv.ParseFloat(s, 64)
				if err != nil || !(f > 0 && f <= 1) {
					return errors.New("must be above 0, up to 1")
				}
				r.strength = &f
				return nil
			})
		r.registerEnd(fs, "stop at this `share` of the steps, above 0 and below 1")
		r.register(fs)
		return r.run
	},
}

// refinement is the flags of refine.
type refinement struct {
	drawing
	base, image string
	strength    *float64 // nil is not given
}

func (f *refinement) run(ctx context.Context, s streams, _ string) (err error) {
	if err := f.check(s); err != nil {
		return err
	}
	img, err := readImage(f.image)
	if err != nil {
		return err
	}
	notes, start := f.notes(s), time.Now()
	device, precision, err := f.device.Open(func(line string) { fmt.Fprintln(notes, line) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()

	options := f.options(device, precision, s)
	open := func() (*sdxl.Pipeline, error) { return cli.OpenModel(f.model, options) }
	if f.base == "" && f.model == cli.Demo {
		f.base = cli.Demo
	}
	if f.base != "" {
		base, err := cli.OpenModel(f.base, options)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, base.Close()) }()
		open = func() (*sdxl.Pipeline, error) { return cli.OpenRefiner(base, f.model) }
	}
	model, err := open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	tellOpened(notes, model.Info(), device.Info(), start)

	r := f.request(model)
	if r.Image = img; f.strength != nil {
		r.Strength = *f.strength
	}
	if err := model.Check(r, true); err != nil {
		return asUsage(err, true)
	}
	r.Seed = f.chooseSeed(s)
	w := drawn{info: model.Info(), source: filepath.Base(f.image)}
	if w.result, err = f.compute(s, &r, func() (*sdxl.Result, error) { return model.Refine(ctx, r) }); err != nil {
		return asUsage(err, true)
	}
	w.request, w.end = r, r.DenoisingEnd
	return f.write(ctx, s, w)
}

func readImage(path string) (image.Image, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("-image: %w", err)
	}
	img, _, err := imagefile.Decode(data, sdxl.MaxSide)
	if err != nil {
		return nil, fmt.Errorf("-image %s: %w", path, err)
	}
	return img, nil
}
