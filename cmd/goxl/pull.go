package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/nn/weights/hub"
)

var pullCommand = command{
	name: "pull", summary: "download a model of the hub, or bring it up to date", synopsis: "ORG/NAME[/FILE][@REVISION] [-precision TYPE] [-variant NAME] [-quiet]",
	notes: `The model comes into the cache that the Python client huggingface_hub has too (HF_HOME, HF_HUB_CACHE), so
that each finds what the other downloaded. Of a repository in diffusers' layout only the files that
goxl reads are taken, with one variant of the weights: that of -variant, else what -device and
-precision prefer, plain files for fp32, fp16 for all others. A download that was cut goes on where
it was. The path is printed; the model is opened by its name:

    goxl pull stabilityai/stable-diffusion-xl-base-1.0
    goxl generate -model stabilityai/stable-diffusion-xl-base-1.0 -prompt "a lighthouse at dusk"
    goxl pull madebyollin/taesdxl/taesdxl_decoder.safetensors

HF_TOKEN, or what hf auth login stored, opens gated models; HF_ENDPOINT is another server.`,
	operand: "ORG/NAME",
	define: func(fs *flag.FlagSet) action {
		p := &pull{}
		fs.StringVar(&p.variant, "variant", "", variantUsage)
		fs.BoolVar(&p.quiet, "quiet", false, "print no progress; warnings and errors are still printed")
		p.device.Register(fs)
		return p.run
	},
}

// pull is the flags of pull.
type pull struct {
	variant string
	quiet   bool
	device  cli.DeviceFlags
}

func (p *pull) run(ctx context.Context, s streams, operand string) error {
	name, err := hub.ParseName(operand)
	if err != nil {
		return cli.Usagef("%v", err)
	}
	client := hub.Client{Settings: hub.FromEnvironment(), Log: logTo(s.err, slog.LevelInfo)}
	if !p.quiet {
		client.Progress = cli.Downloading(s.err, isTerminal(s.err))
	}
	path, err := client.Pull(ctx, name, p.device.Variant(p.variant))
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, path)
	return nil
}
