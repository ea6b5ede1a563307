package main

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/esrgan"
	"github.com/goxl/goxl/models/sdxl"
)

var synthCommand = command{
	name: "synth", summary: "write a model with random weights, for tests and timing", synopsis: "-size tiny|full -kind KIND -o DIR|FILE [-dtype fp16|fp32] [-single]",
	notes: `The folder has diffusers' layout, and diffusers can load it. Its weights are random but deterministic:
the same on every machine. Its images are noise. A full base takes 7 GB in fp16, a tiny one a few MB.
Nets beside the UNet (-kind controlnet and so on) fit the base of the same size.
Of kind ip-adapter it is IP-Adapters with their image encoders, laid out as in h94/IP-Adapter: 7 GB of
full size. With -single it is a checkpoint in one file, as -model and other programs take it. The kinds
esrgan and esrgan-compact are upscalers, RealESRGAN_x4plus and realesr-general-x4v3 in size, in one file.`,
	required: []string{"size", "kind", "o"},
	define: func(fs *flag.FlagSet) action {
		f := &synthesis{}
		fs.StringVar(&f.size, "size", "", "`size`: tiny or full")
		fs.StringVar(&f.kind, "kind", "", "`kind`: base, refiner, ip-adapter, esrgan, esrgan-compact, or a net for -control and -t2i-adapter: "+strings.Join(sdxl.SyntheticControls(), ", "))
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
	control := slices.Contains(sdxl.SyntheticControls(), f.kind)
	name, ok := map[string]string{"full base": "base", "full refiner": "refiner", "tiny base": "tiny", "tiny refiner": "tiny-refiner", "full ip-adapter": "ip-adapter", "tiny ip-adapter": "tiny-ip-adapter"}[f.size+" "+f.kind]
	config, upscaler := syntheticUpscalers["synth:"+f.kind]
	switch {
	case f.size != "tiny" && f.size != "full":
		return cli.Usagef("-size %q: must be tiny or full", f.size)
	case !ok && !control && !upscaler:
		return cli.Usagef("-kind %q: must be base, refiner, ip-adapter, esrgan, esrgan-compact or one of %s", f.kind, strings.Join(sdxl.SyntheticControls(), ", "))
	case control && f.single:
		return cli.Usagef("-single: must be absent with -kind %s, which is a folder", f.kind)
	case f.single && f.kind == "ip-adapter":
		return cli.Usagef("-single: must be absent with -kind ip-adapter, which is several files")
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
	if control {
		name = f.kind
		write = func(ctx context.Context, name string, dtype kernels.DType, dir string) error {
			return sdxl.SynthesiseControl(ctx, name, f.size == "tiny", dtype, dir)
		}
	}
	switch {
	case f.single:
		write = sdxl.SynthesiseFile
	case f.kind == "ip-adapter":
		write = func(ctx context.Context, _ string, dtype kernels.DType, dir string) error {
			return sdxl.SynthesiseIPAdapters(ctx, f.size == "tiny", dtype, dir)
		}
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
	if !control {
		name = "synth:" + name
	}
	fmt.Fprintf(s.err, "%s written as %v in %v\n", name, dtype, seconds(time.Since(start)))
	fmt.Fprintln(s.out, f.out)
	return nil
}
