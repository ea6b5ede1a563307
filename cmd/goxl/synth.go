package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/sdxl"
)

var synthCommand = command{
	name: "synth", summary: "write a model with random weights, for tests and timing", synopsis: "-size tiny|full -kind base|refiner|esrgan|esrgan-compact -o DIR|FILE [-dtype fp16|fp32] [-single]",
	notes: `The folder has diffusers' layout, and diffusers can load it. Its weights are random but deterministic:
the same on every machine. Its images are noise. A full base takes 7 GB in fp16, a tiny one a few MB.
With -single it is a checkpoint in one file, as -model and other programs take it. The kinds esrgan and
esrgan-compact are upscalers, RealESRGAN_x4plus and realesr-general-x4v3 in size, in one file.`,
	required: []string{"size", "kind", "o"},
	define: func(fs *flag.FlagSet) action {
		f := &synthesis{}
		fs.StringVar(&f.size, "size", "", "`size`: tiny or full")
		fs.StringVar(&f.kind, "kind", "", "`kind`: base, refiner, esrgan or esrgan-compact")
		fs.StringVar(&f.dtype, "dtype", "", "element `type` of the weights: fp16 or fp32; without it, fp16 for full and fp32 for tiny")
		fs.StringVar(&f.out, "o", "", "the folder, `DIR`, to write: new or empty; with -single and of an upscaler, the safetensors file")
		fs.BoolVar(&f.single, "single", false, "write one safetensors file, in the original names")
		return f.run
	},
}

// synthesis is the flags of synth.
type synthesis struct {
	size, kind, dtype, out string
	single                 bool
}

func (f *synthesis) run(ctx context.Context, s streams, _ string) error {
	name, ok := map[string]string{"full base": "base", "full refiner": "refiner", "tiny base": "tiny", "tiny refiner": "tiny-refiner"}[f.size+" "+f.kind]
	config, upscaler := syntheticUpscalers["synth:"+f.kind]
	switch {
	case f.size != "tiny" && f.size != "full":
		return cli.Usagef("-size %q: must be tiny or full", f.size)
	case !ok && !upscaler:
		return cli.Usagef("-kind %q: must be base, refiner, esrgan or esrgan-compact", f.kind)
	case f.out == "":
		return cli.Usagef(`-o "": must be the name of a folder`)
	}
	dtype := kernels.F32
	switch {
	case f.dtype == "fp16", f.dtype == "" && f.size == "full":
		dtype = kernels.F16
	case f.dtype != "fp32" && f.dtype != "":
		return cli.Usagef("-dtype %q: must be fp16 or fp32", f.dtype)
	}
	start := time.Now()
	write := sdxl.Synthesise
	if f.single {
		write = sdxl.SynthesiseFile
	}
	if upscaler {
		name = f.kind
		if f.size == "tiny" {
			config.Features, config.Growth, config.Blocks = 8, 4, 2
		}
		write = func(_ context.Context, _ string, dtype kernels.DType, file string) error {
			return esrgan.Synthesise(config, dtype, file)
		}
	}
	if err := write(ctx, name, dtype, f.out); err != nil {
		return err
	}
	fmt.Fprintf(s.err, "synth:%s written as %v in %v\n", name, dtype, seconds(time.Since(start)))
	fmt.Fprintln(s.out, f.out)
	return nil
}
