package main

import (
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// registerHires adds the flags of a second pass in a larger size, which -hires turns on.
func (g *generateFlags) registerHires(fs *flag.FlagSet) {
	h := &g.hires
	fs.Func("hires", "text-to-image: a second pass, image-to-image, in a larger size (A1111's hires fix): a `scale` from 1 to 8, or WIDTHxHEIGHT, of which a 0 keeps the aspect; a list of -guidance goes on in it", func(s string) error {
		g.hiresSet = true
		h.Scale, h.Width, h.Height = 0, 0, 0
		if width, height, ok := strings.Cut(s, "x"); ok {
			var werr, herr error
			h.Width, werr = strconv.Atoi(width)
			h.Height, herr = strconv.Atoi(height)
			if werr != nil || herr != nil || h.Width < 0 || h.Height < 0 || h.Width+h.Height == 0 {
				return errors.New("must be a scale, or WIDTHxHEIGHT")
			}
			return nil
		}
		scale, err := strconv.ParseFloat(s, 64)
		if err != nil || !(scale >= 1 && scale <= 8) {
			return errors.New("must be a scale from 1 to 8, or WIDTHxHEIGHT")
		}
		h.Scale = scale
		return nil
	})
	number(fs, "hires-steps", "with -hires, the `number` of steps that the second pass takes; without it those of -steps", "must be a whole number from 1 on", atLeast(1, &h.Steps))
	fraction(fs, "hires-strength", "with -hires, how much of the enlarged image is noised, a `fraction` above 0, up to 1; without it 0.7", true, &h.Strength)
	name(fs, "upscaler", "with -hires, what enlarges: the `FILE` of an ESRGAN model, or one of "+strings.Join(sdxl.HiresUpscalers(), ", ")+"; without it latent", &h.Upscaler)
	name(fs, "hires-prompt", "with -hires, the prompt of the second pass, a `text`; without it the same", &h.Prompt)
	text(fs, "hires-negative", "with -hires, the negative prompt of the second pass, a `text`; without it the same", &h.NegativePrompt)
	name(fs, "hires-scheduler", "with -hires, the `name` of the second pass's sampler, as -scheduler takes it; without it the same", &h.Scheduler)
}

// useHires puts the second pass into the request.
func (g *generateFlags) useHires() error {
	if g.hiresSet {
		g.request.Hires = &g.hires
		return nil
	}
	for _, f := range []struct {
		flag  string
		value any
		given bool
	}{
		{"hires-steps", g.hires.Steps, g.hires.Steps != 0}, {"hires-strength", g.hires.Strength, g.hires.Strength != 0}, {"upscaler", g.hires.Upscaler, g.hires.Upscaler != ""},
		{"hires-prompt", g.hires.Prompt, g.hires.Prompt != ""}, {"hires-negative", "TEXT", g.hires.NegativePrompt != nil}, {"hires-scheduler", g.hires.Scheduler, g.hires.Scheduler != ""},
	} {
		if f.given {
			return cli.Usagef("-%s %s: has no meaning without -hires", f.flag, fmt.Sprint(f.value))
		}
	}
	return nil
}
