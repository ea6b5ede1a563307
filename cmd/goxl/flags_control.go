package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/controlnet/preprocess"
	"github.com/goxl/goxl/models/sdxl"
)

// controlFlags are the images of -control and -t2i-adapter, which pair up with those in order.
type controlFlags struct {
	images, adapterImages []string
}

// registerControls adds what steers the UNet by images.
func (g *generateFlags) registerControls(fs *flag.FlagSet) {
	r, c := &g.request, &g.control
	fs.Func("control", "a ControlNet: `PATH[:SCALE[:START:END]]` of a folder or a file, of a Control-LoRA too, 1:0:1 without numbers: its scale, and the fractions of the steps at which it begins and ends; may be repeated, all are added up; each needs a -control-image; those of one union file act together, as one with several images", func(s string) error {
		path, numbers, err := pathAndNumbers(s, 1, 3)
		if err != nil {
			return err
		}
		control := sdxl.Control{Path: path}
		if len(numbers) > 0 {
			control.Scale = &numbers[0]
		}
		if len(numbers) > 1 {
			control.Start, control.End = numbers[1], numbers[2]
			if control.End == 0 {
				return errors.New("must end above 0")
			}
		}
		r.Controls = append(r.Controls, control)
		return nil
	})
	list(fs, "control-image", "the image `file` of a -control, in the same order; it is resized to the result's size, as -image is where it is shaped as that", &c.images)
	last := func(set func(*sdxl.Control, string) error) func(string) error {
		return func(s string) error {
			if len(r.Controls) == 0 {
				return errors.New("must come behind the -control that it is for")
			}
			return set(&r.Controls[len(r.Controls)-1], s)
		}
	}
	fs.Func("control-mode", "the kind of the image of the -control before it, of a union: a `name` such as openpose, depth, softedge, canny, normal, segment, tile or repaint, or a number", last(func(c *sdxl.Control, s string) error {
		c.Mode = s
		return nil
	}))
	fs.Func("control-preprocessor", "what makes the control image of the -control before it of its -control-image, a `name`: "+strings.Join(preprocess.Names(), ", ")+"; numbers may follow, as canny:100:200, blur_gaussian:9, tile_resample:2 and recolor_luminance:1; images for other nets (depth, openpose …) are made elsewhere", last(func(c *sdxl.Control, s string) error {
		c.Preprocessor = s
		if err := preprocess.Check(s); err != nil {
			return fmt.Errorf("must be one of %s: %w", strings.Join(preprocess.Names(), ", "), err)
		}
		return nil
	}))
	fs.BoolFunc("control-guess", "the -control before it is in guess mode: the negative side of guidance is not steered, and the first levels less", last(func(c *sdxl.Control, s string) error {
		on, err := strconv.ParseBool(s)
		c.GuessMode = on
		return err
	}))
	fs.Func("t2i-adapter", "a T2I-Adapter: `PATH[:SCALE]` of a folder or a file, 1 without a scale; may be repeated, all are added up; each needs a -t2i-image", func(s string) error {
		path, numbers, err := pathAndNumbers(s, 1)
		if err != nil {
			return err
		}
		adapter := sdxl.T2IAdapter{Path: path}
		if len(numbers) > 0 {
			adapter.Scale = &numbers[0]
		}
		r.T2IAdapters = append(r.T2IAdapters, adapter)
		return nil
	})
	list(fs, "t2i-image", "the image `file` of a -t2i-adapter, in the same order; it is resized to the result's size", &c.adapterImages)
}

// list is a flag of names that may be repeated.
func list(fs *flag.FlagSet, name, usage string, to *[]string) {
	fs.Func(name, usage, func(s string) error {
		if s == "" {
			return errors.New("must be a name, or the flag absent")
		}
		*to = append(*to, s)
		return nil
	})
}

// pathAndNumbers splits a path from the numbers behind it, of which there may be none or one of the counts. Where there
// is a file of the whole name, that is the path.
func pathAndNumbers(s string, counts ...int) (path string, numbers []float64, err error) {
	if _, err := os.Stat(s); err == nil {
		return s, nil, nil
	}
	parts := strings.Split(s, ":")
	for len(parts) > 1 {
		v, err := strconv.ParseFloat(parts[len(parts)-1], 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			break
		}
		numbers = append([]float64{v}, numbers...)
		parts = parts[:len(parts)-1]
	}
	path = strings.Join(parts, ":")
	if path == "" {
		return "", nil, errors.New("must begin with a path")
	}
	if len(numbers) == 0 {
		return path, nil, nil
	}
	for _, n := range counts {
		if len(numbers) == n {
			return path, numbers, nil
		}
	}
	want := "a scale"
	if len(counts) > 1 {
		want = "a scale, or scale, start and end"
	}
	return "", nil, fmt.Errorf("has %d numbers behind the path: must have %s", len(numbers), want)
}

// checkControls finds wrong counts.
func (g *generateFlags) checkControls() error {
	for _, c := range []struct {
		flag, imageFlag string
		count, images   int
	}{
		{"control", "control-image", len(g.request.Controls), len(g.control.images)},
		{"t2i-adapter", "t2i-image", len(g.request.T2IAdapters), len(g.control.adapterImages)},
	} {
		if c.count != c.images {
			return cli.Usagef("-%s is given %d times and -%s %d times: must be as many, one image for each in the same order", c.flag, c.count, c.imageFlag, c.images)
		}
	}
	return nil
}

// readControls reads the images.
func (g *generateFlags) readControls() (err error) {
	for i, path := range g.control.images {
		if g.request.Controls[i].Image, err = g.readImage("control-image", path); err != nil {
			return err
		}
	}
	for i, path := range g.control.adapterImages {
		if g.request.T2IAdapters[i].Image, err = g.readImage("t2i-image", path); err != nil {
			return err
		}
	}
	return nil
}

// controlFlagOf is the flag that a field such as controls[0].image is from.
func controlFlagOf(field string) (string, bool) {
	list, member, _ := strings.Cut(field, "[")
	flags, ok := map[string]struct{ image, others string }{"controls": {"control-image", "control"}, "t2i_adapters": {"t2i-image", "t2i-adapter"}}[list]
	if strings.HasSuffix(member, "].image") {
		return flags.image, ok
	}
	return flags.others, ok
}
