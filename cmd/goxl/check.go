package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

var checkCommand = command{
	name: "check", summary: "find the first module of a model that a device computes wrongly", synopsis: "DIR|demo|synth:NAME [flags]",
	notes: `Computes text encoders, one evaluation of the UNet and both halves of the VAE as generate does, with
fused kernels, and again with every fusion undone; a component of up to 4 GFLOP also on gorgonia's
machine, which sums in float64 and is then the judge. Every module's output is compared, and the first
that differs by more than rounding explains is named, as are NaN and Inf. Where gorgonia's machine does
not judge, a kernel that is wrong in both computations is not seen.

The inputs are always the same: a prompt, and noise of a seed. The size is the smallest that the model
takes. Kernels are chosen by size, so that a fault may need the -width and -height of the wrong image;
all outputs are kept, which takes far more memory than generating it does.

    goxl check demo
    goxl check stable-diffusion-xl-base-1.0 -device cuda -precision bf16 -width 512 -height 512

-json writes one object:
    model, version, device, detail, kernels, width, height, agrees, and components, an array of
    component, precision, gflop, judge (gorgonia or unfused), modules, agrees, first (the first module
    that differs, null if none does), worst (the module that used most of its budget), overflow (what
    was not finite in fp16, if the component was then compared in bf16, in which generate computes again
    what overflows; else null), broken_weights (tensors that hold NaN or Inf)
first, worst and overflow have
    module, run (fused or unfused), against, not_finite, rms and max (the error, relative; null if it
    is not finite), budget (of rms; max may be 8 times that) and share (of the budget)`,
	operand: "DIR, demo or synth:NAME",
	define: func(fs *flag.FlagSet) action {
		c := &check{}
		fs.IntVar(&c.options.Width, "width", 0, "`pixels`, a multiple of 8 up to 8192; 0 is the smallest size, 64 of the SDXL base, 128 of the refiner")
		fs.IntVar(&c.options.Height, "height", 0, "`pixels`, likewise")
		name(fs, "vae", vaeUsage, &c.vae)
		name(fs, "taesd", "a TAESD to check too: the `PATH` of its folder, or of a safetensors file", &c.taesd)
		fs.StringVar(&c.variant, "variant", "", variantUsage)
		fs.BoolVar(&c.json, "json", false, "write JSON in place of a table")
		fs.StringVar(&c.device.Kernels, "kernels", "", "the device's `kernels`: avx512, avx2 or portable of a CPU, sm_90a or sm_80 of a card; without it, the best")
		c.device.Register(fs)
		return c.run
	},
}

// check is the flags of check.
type check struct {
	options    sdxl.CheckOptions
	vae, taesd string
	variant    string
	json       bool
	device     cli.DeviceFlags
}

func (c *check) run(ctx context.Context, s streams, path string) (err error) {
	start := time.Now()
	device, precision, err := c.device.Open(func(line string) { fmt.Fprintln(s.err, line) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	log := logTo(s.err, slog.LevelInfo)
	host, err := sdxl.NewHost(device, log)
	if err != nil {
		return err
	}
	m, err := cli.OpenModel(ctx, path, sdxl.Options{Host: host, Precision: precision, Variant: c.variant, VAE: c.vae, TAESD: c.taesd, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	size, err := m.CheckSize(c.options)
	if err != nil {
		return asUsage(err, false)
	}
	fmt.Fprintf(s.err, "%s opened in %v\n", path, seconds(time.Since(start)))
	c.options.Progress = func(component string) { fmt.Fprintf(s.err, "checking %s\n", component) }
	found, err := m.Check(ctx, c.options)
	if err != nil {
		return err
	}
	report := newCheckReport(path, device.Info(), size, found)
	if c.json {
		err = report.writeJSON(s.out)
	} else {
		report.print(s.out)
	}
	if err == nil && !report.Agrees {
		err = fmt.Errorf("%s: %d of %s did not agree", path, report.differing(), plural(len(found), "component"))
	}
	return err
}
