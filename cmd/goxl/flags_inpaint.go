package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// registerInpaint adds the flags of masks and borders, and of the size that an image gets.
func (g *generateFlags) registerInpaint(fs *flag.FlagSet) {
	r := &g.request
	name(fs, "mask", "inpainting: a PNG, JPEG or WebP `file` whose white is repainted, by -strength, without it 0.9999; the rest keeps -image's pixels; one of another size is resized", &g.mask)
	fs.BoolVar(&r.SoftMask, "soft-mask", false, "grey of -mask is repainted in the last steps alone, the darker the fewer, as by ComfyUI's differential diffusion")
	fs.Func("mask-blur", "mask blur: blur -mask, and the edge of -outpaint, by so many `pixels`, the standard deviation of Pillow's GaussianBlur", func(s string) error {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f >= 0 && f <= math.MaxFloat32) {
			return errors.New("must be 0 or more")
		}
		r.MaskBlur = f
		return nil
	})
	fs.BoolVar(&r.MaskInvert, "mask-invert", false, "repaint where -mask is black")
	fs.Func("inpaint-fill", "what the repainted part begins with, a `name`: original, the default, is the image; noise and nothing are so in the latents; blur is the surroundings, blurred: A1111's masked content latent noise, latent nothing and fill", func(s string) error {
		r.InpaintFill = sdxl.InpaintFill(s)
		return oneOf(sdxl.InpaintFills(), r.InpaintFill)
	})
	number(fs, "mask-padding", "compute the part around the mask alone, with so many `pixels` more on each side, at -width and -height, without them the image's size; it is resized into the image: A1111's Only masked and its padding", "must be 0 or more", func(n int) bool {
		r.MaskPadding = &n
		return n >= 0
	})
	fs.Func("outpaint", "add pixels around -image and paint them: so many on each side, `LEFT,TOP,RIGHT,BOTTOM`; -mask may say what is repainted beside them", func(s string) error {
		sides := [4]*int{&r.Outpaint.Left, &r.Outpaint.Top, &r.Outpaint.Right, &r.Outpaint.Bottom}
		parts := strings.Split(s, ",")
		for i, part := range parts {
			n, err := strconv.Atoi(strings.TrimSpace(part))
			if err != nil || n < 0 || len(parts) != len(sides) {
				return errors.New("must be LEFT,TOP,RIGHT,BOTTOM, each 0 or more, such as 0,0,256,0")
			}
			*sides[i] = n
		}
		if r.Outpaint == (sdxl.Border{}) {
			return errors.New("must have a side above 0")
		}
		return nil
	})
	fs.Func("resize", "how -image, and -mask and images of -control, -t2i-adapter and -ip-mask with it, gets -width and -height, a `name`: stretch, the default; crop keeps the aspect ratio and cuts off the rest; fill keeps it and stretches the outermost lines: A1111's Just resize, Crop and resize, Resize and fill", func(s string) error {
		r.Resize = sdxl.Resize(s)
		return oneOf(sdxl.Resizes(), r.Resize)
	})
	fs.BoolFunc("keep-unmasked", "with =false, pixels outside of the mask are the VAE's, not -image's own", func(s string) error {
		keep, err := strconv.ParseBool(s)
		if err != nil {
			return errors.New("must be true or false")
		}
		r.KeepUnmasked = &keep
		return nil
	})
}

// checkInpaint finds flags of inpainting that there is nothing to do for.
func (g *generateFlags) checkInpaint() error {
	r := &g.request
	masked := g.mask != "" || r.Outpaint != sdxl.Border{}
	switch {
	case masked && g.source() == "":
		return cli.Usagef("-mask and -outpaint: must be beside -image")
	case r.Resize != "" && g.image == "":
		return cli.Usagef("-resize %s: must be beside -image", r.Resize)
	case masked:
		return nil
	}
	for name, given := range map[string]bool{
		"soft-mask": r.SoftMask, "mask-blur": r.MaskBlur != 0, "mask-invert": r.MaskInvert, "inpaint-fill": r.InpaintFill != "",
		"mask-padding": r.MaskPadding != nil, "keep-unmasked": r.KeepUnmasked != nil,
	} {
		if given {
			return cli.Usagef("-%s: must be beside -mask or -outpaint", name)
		}
	}
	return nil
}

// noteAnimations says of which files the first frame is taken.
func (g *generateFlags) noteAnimations(s streams) {
	for _, flag := range g.animations {
		fmt.Fprintf(s.err, "warning: -%s is an animation: its first frame is taken\n", flag)
	}
}
