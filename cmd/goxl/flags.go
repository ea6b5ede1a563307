package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/scheduler"
)

const (
	modelUsage   = "the model: demo, which is built in, a `DIR` in diffusers' layout, or %s for made-up weights%s"
	variantUsage = "`name` of the weight files, for instance fp16; without it, what suits the precision"
)

// drawing is the flags that generate and refine share.
type drawing struct {
	model, prompt, scheduler, variant string
	out, saveLatents                  string
	negative                          *string // nil is not given
	count                             int
	steps                             *int     // nil is not given
	guidance, denoisingEnd            *float64 // nil is not given
	seed                              *uint64  // nil is a random one
	watermark, quiet                  bool
	device                            cli.DeviceFlags
}

func (d *drawing) register(fs *flag.FlagSet) {
	def := sdxl.NewRequest("")
	fs.StringVar(&d.prompt, "prompt", "", "what to draw, a `text`; it may be empty, but must be given")
	fs.Func("negative", "what not to draw, a `text`; an empty one is encoded as such, none at all is what the model does without", func(s string) error {
		d.negative = &s
		return nil
	})
	fs.Func("steps", fmt.Sprintf("`number` of denoising steps; without it the model's own, or %d", def.Steps), func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return errors.New("must be a whole number from 1 to the scheduler's num_train_timesteps, mostly 1000")
		}
		d.steps = &n
		return nil
	})
	fs.Func("guidance", fmt.Sprintf("guidance `scale`; up to 1 there is none, and -negative does not count; without it the model's own, or %v", def.Guidance), func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return errors.New("must be a finite number")
		}
		d.guidance = &f
		return nil
	})
	fs.Func("seed", "a `number` from 0 to 18446744073709551615; -1, or no -seed, is a random one, which is printed and stored in the image", func(s string) error {
		if s == "-1" { // as A1111
			d.seed = nil
			return nil
		}
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return errors.New("must be 0 to 18446744073709551615, or -1 for a random one")
		}
		d.seed = &seed
		return nil
	})
	fs.IntVar(&d.count, "n", def.Count, "`number` of pictures, drawn as one batch; more than one are the files out-0.png, out-1.png …")
	fs.StringVar(&d.out, "o", "out.png", "the PNG `file` to write, whose directory must exist, or - for standard output; devices and pipes are written to, links followed")
	fs.StringVar(&d.scheduler, "scheduler", "", "`name` of the sampler, one of\n"+wrap(scheduler.Names(), 88)+"\nwithout it the model's own, which must be one of these kinds")
	fs.StringVar(&d.variant, "variant", "", variantUsage)
	fs.BoolVar(&d.watermark, "watermark", false, "put diffusers' invisible watermark into the pictures")
	fs.BoolVar(&d.quiet, "quiet", false, "show no progress and no notes; warnings, errors and a random seed are still told")
	fs.StringVar(&d.saveLatents, "save-latents", "", "a safetensors `file`, or as -o, to write the final latents to, before the VAE: tensor \"latents\", F32, [n, 4, height/8, width/8]")
	d.device.Register(fs)
}

// registerEnd adds -denoising-end, whose meaning differs.
func (d *drawing) registerEnd(fs *flag.FlagSet, usage string) {
	fs.Func("denoising-end", usage, func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0 && f < 1) {
			return errors.New("must be above 0 and below 1")
		}
		d.denoisingEnd = &f
		return nil
	})
}

// request fills in the model's defaults and what the shared flags say, the seed apart.
func (d *drawing) request(p *sdxl.Pipeline) sdxl.Request {
	r := p.NewRequest(d.prompt)
	if d.steps != nil {
		r.Steps = *d.steps
	}
	if d.guidance != nil {
		r.Guidance = *d.guidance
	}
	r.Negative, r.Count = d.negative, d.count
	r.Scheduler, r.Watermark = d.scheduler, d.watermark
	if d.denoisingEnd != nil {
		r.DenoisingEnd = *d.denoisingEnd
	}
	return r
}

// check finds what is wrong whatever the model, before it is opened, which takes a while: flags, and outputs that can't be written.
func (d *drawing) check(s streams, sides ...side) error {
	for _, side := range sides {
		if side.pixels < 0 || side.pixels > sdxl.MaxSide || side.pixels%8 != 0 {
			return cli.Usagef("-%s %d: must be a multiple of 8 from 8 to %d, or 0 for the model's own", side.flag, side.pixels, sdxl.MaxSide)
		}
	}
	switch {
	case d.model == "":
		return cli.Usagef(`-model "": must be %s, a DIR, or synth: and one of %s`, cli.Demo, strings.Join(sdxl.SyntheticNames(), ", "))
	case d.count < 1 || d.count > sdxl.MaxCount:
		return cli.Usagef("-n %d: must be 1 to %d", d.count, sdxl.MaxCount)
	case d.scheduler != "" && !slices.Contains(scheduler.Names(), d.scheduler):
		return cli.Usagef("-scheduler %q: must be one of %s", d.scheduler, strings.Join(scheduler.Names(), ", "))
	case !utf8.ValidString(d.prompt):
		return cli.Usagef("-prompt %q: must be UTF-8 text", d.prompt)
	case d.negative != nil && !utf8.ValidString(*d.negative):
		return cli.Usagef("-negative %q: must be UTF-8 text", *d.negative)
	}
	return d.checkOutputs(s)
}

// side is -width or -height; 0 is not given.
type side struct {
	flag   string
	pixels int
}

// chooseSeed returns -seed, or a random one where that is not given or -1, which it tells.
func (d *drawing) chooseSeed(s streams) uint64 {
	if d.seed != nil {
		return *d.seed
	}
	seed := sdxl.RandomSeed()
	fmt.Fprintf(s.err, "seed %d\n", seed)
	return seed
}

// flagOf maps diffusers' names of a request's fields to flags.
var flagOf = map[string]string{
	"prompt": "prompt", "negative_prompt": "negative", "height": "height", "width": "width", "num_images_per_prompt": "n",
	"num_inference_steps": "steps", "guidance_scale": "guidance", "scheduler": "scheduler", "denoising_end": "denoising-end",
	"denoising_start": "denoising-end", "latents": "latents", "image": "image", "strength": "strength",
}

// asUsage turns a request that can't be done into a usage error that names the flag; imageToImage tells that the size is the image's.
func asUsage(err error, imageToImage bool) error {
	var bad *sdxl.RequestError
	if !errors.As(err, &bad) {
		return err
	}
	name, ok := flagOf[bad.Field]
	switch {
	case !ok:
		return cli.Usagef("%v", bad)
	case imageToImage && (name == "width" || name == "height"):
		return cli.Usagef("-image is %v pixels in %s: must be %s", bad.Value, name, bad.Allowed)
	case bad.Err != nil:
		return cli.Usagef("-%s %v: must be %s: %v", name, bad.Value, bad.Allowed, bad.Err)
	}
	return cli.Usagef("-%s %v: must be %s", name, bad.Value, bad.Allowed)
}

// wrap joins words with commas into lines of about width characters.
func wrap(words []string, width int) string {
	var b strings.Builder
	line := 0
	for i, w := range words {
		if i > 0 {
			b.WriteByte(',')
			if line += len(w) + 2; line > width {
				b.WriteByte('\n')
				line = len(w)
			} else {
				b.WriteByte(' ')
			}
		} else {
			line = len(w)
		}
		b.WriteString(w)
	}
	return b.String()
}
