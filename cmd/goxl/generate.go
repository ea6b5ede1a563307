package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

var generateCommand = command{
	name: "generate", summary: "make images from text, or from an image", synopsis: "[-model MODEL] -prompt TEXT [-lora FILE] [-image in.png] [-o out.png] [flags]",
	notes: `The same model, prompt, seed and settings give the same image. How an image was made is stored
in the PNG's text chunks, under diffusers' names and as A1111's parameters; goxl inspect prints them.
With -image it is image-to-image: the image is noised by -strength and denoised from there. With
-refiner, the model runs the steps up to the fraction -denoising-end, and the refiner the rest.

    goxl generate -prompt "a red apple and a blue car on a green background"
    goxl generate -prompt "a rocket in the night sky" -refiner demo
    goxl generate -prompt "a cat" -o - | convert - cat.jpg
    goxl generate -prompt "a green apple" -image out.png -strength 0.6 -o green.png
    goxl generate -prompt "a banana" -image out.png -mask mask.png -mask-blur 6 -o banana.png
    goxl generate -model stable-diffusion-xl-base-1.0 -prompt "a lighthouse at dusk" -seed 1
    goxl generate -model checkpoint.safetensors -prompt "a lighthouse" -hires 1.5 -upscaler RealESRGAN_x4plus.pth
    goxl generate -model checkpoint.safetensors -lora style.safetensors:0.8 -prompt-style a1111 -prompt "a (red:1.3) apple"
    goxl generate -model checkpoint.safetensors -unet sdxl_lightning_4step_unet.safetensors -prompt "a lighthouse at dusk"
    goxl generate -model checkpoint.safetensors -prompt "a house" -control canny-sdxl:0.8 -control-image photo.png -control-preprocessor canny
    goxl generate -model synth:tiny -prompt "" -steps 2`,
	define: func(fs *flag.FlagSet) action {
		g := &generateFlags{}
		fs.StringVar(&g.model, "model", cli.Demo, fmt.Sprintf(modelUsage, "synth:base or synth:tiny", ""))
		fs.IntVar(&g.request.Width, "width", 0, "`pixels`, a multiple of 8 up to 8192; 0 is the model's own size, or -image's")
		fs.IntVar(&g.request.Height, "height", 0, "`pixels`, a multiple of 8 up to 8192; 0 is the model's own size, or -image's")
		name(fs, "refiner", "run the last steps with this refiner: demo, which belongs to -model demo, a `DIR`, synth:refiner or synth:tiny-refiner", &g.refiner)
		name(fs, "base", "the model whose text encoders and VAE are used where -model is a file that lacks them; it must be there, and a warning says where nothing is taken from it: a `DIR`, a checkpoint in one file, ORG/NAME[@REVISION] of the hub, synth:base or synth:tiny", &g.missing)
		name(fs, "latents", "a safetensors `file` with initial noise of unit variance, in place of the seed's: tensor \"latents\", F32, [n, 4, height/8, width/8]", &g.latents)
		name(fs, "image", "image-to-image: the PNG, JPEG or WebP `file` to begin with, turned upright by its EXIF orientation; of an animation the first frame", &g.image)
		g.registerEnd(fs, "stop at this `fraction` of the steps, above 0 and below 1; with -refiner, which goes on from there, without it "+strconv.FormatFloat(sdxl.DefaultDenoisingEnd, 'g', -1, 64))
		g.registerHires(fs)
		g.register(fs)
		return g.run
	},
}

// run is generate and refine.
func (g *generateFlags) run(ctx context.Context, s streams, _ string) (err error) {
	if err := g.prepare(ctx, s); err != nil {
		return err
	}
	g.noteAnimations(s)
	notes, start := g.notes(s), time.Now()
	device, precision, err := g.device.Open(func(line string) { fmt.Fprintln(notes, line) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	m, err := g.open(ctx, s, device, precision)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	noteOpened(notes, m.model.Info(), device.Info(), start)
	g.chooseSeed(s)
	result, err := g.compute(s, func(r sdxl.Request) (*sdxl.Result, error) {
		if m.refiner == nil {
			return m.model.Generate(ctx, r)
		}
		r.DenoisingEnd = 0 // the refiner goes to the end
		return sdxl.Ensemble(ctx, r, sdxl.Expert{Model: m.model, DenoisingEnd: g.denoisingEnd()}, sdxl.Expert{Model: m.refiner})
	})
	if err != nil {
		return g.asUsage(err)
	}
	return g.write(ctx, s, result)
}

// denoisingEnd is where a refiner takes over.
func (g *generateFlags) denoisingEnd() float64 {
	if g.endSet {
		return g.request.DenoisingEnd
	}
	return sdxl.DefaultDenoisingEnd
}

// prepare checks everything that needs neither weights nor a device, and downloads models of the hub.
func (g *generateFlags) prepare(ctx context.Context, s streams) error {
	if err := g.check(); err != nil {
		return err
	}
	if err := errors.Join(g.useHires(), g.readPrompts()); err != nil {
		return err
	}
	if err := g.checkOutputs(s); err != nil {
		return err
	}
	if err := g.read(); err != nil {
		return err
	}
	variant := g.device.Variant(g.variant)
	if err := cli.Fetch(ctx, variant, g.options(variant.Precision, s).Log, g.base, g.model, g.refiner, g.missing); err != nil {
		return err
	}
	var base *sdxl.Spec
	var err error
	if g.base != "" {
		if base, err = cli.ReadSpec(g.base, nil, nil); err != nil {
			return err
		}
	}
	spec, err := cli.ReadSpecParts(g.model, g.parts(), base, nil)
	if err != nil {
		return g.asPart(err)
	}
	g.request = spec.ChoosePreset(g.request)
	if g.refiner == "" {
		p, err := spec.Resolve(g.request)
		if err == nil {
			err = cmp.Or(spec.CheckLoRAs(g.request), spec.CheckControls(g.request))
		}
		g.steps, g.preset = p.Steps, p.PresetNote()
		return g.asUsage(err)
	}
	refiner, err := cli.ReadSpec(g.refiner, spec, nil)
	if err != nil {
		return err
	}
	r := g.request
	r.DenoisingEnd = 0
	p, err := sdxl.ResolveEnsemble(r, []*sdxl.Spec{spec, refiner}, []float64{g.denoisingEnd(), 0})
	if err == nil {
		err = cmp.Or(spec.CheckLoRAs(r), spec.CheckControls(r))
	}
	g.steps, g.preset = p.Steps, p.PresetNote()
	return g.asUsage(err)
}

// parts are what the model takes from other files.
func (g *generateFlags) parts() sdxl.Parts {
	return sdxl.Parts{UNet: g.unet, VAE: g.vae, Missing: g.missing, Prediction: g.prediction}
}

// openModels are the one that computes, its refiner or nil, and all that is to be closed.
type openModels struct {
	model, refiner *sdxl.Model
	all            []*sdxl.Model
}

func (m *openModels) close() error {
	var errs []error
	for i := len(m.all) - 1; i >= 0; i-- {
		errs = append(errs, m.all[i].Close())
	}
	return errors.Join(errs...)
}

// open opens the models that the flags name.
func (g *generateFlags) open(ctx context.Context, s streams, device kernels.Device, precision kernels.DType) (m *openModels, err error) {
	o := g.options(precision, s)
	if o.Host, err = sdxl.NewHost(device, o.Log); err != nil {
		return nil, err
	}
	m = &openModels{}
	open := func(name string, o sdxl.Options) *sdxl.Model {
		if err != nil {
			return nil
		}
		var opened *sdxl.Model
		if opened, err = cli.OpenModel(ctx, name, o); err != nil {
			return nil
		}
		m.all = append(m.all, opened)
		return opened
	}
	if g.base != "" {
		o.Base = open(g.base, o)
	}
	main := o
	main.UNet, main.VAE, main.TAESD, main.Missing = g.unet, g.vae, g.taesd, g.missing
	main.Prediction = g.prediction
	g.previewOptions(&main)
	m.model = open(g.model, main)
	if g.refiner != "" {
		o.Base = m.model
		m.refiner = open(g.refiner, o)
	}
	if err != nil {
		return nil, errors.Join(g.asPart(err), m.close())
	}
	return m, nil
}
