package main

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

const unetUsage = "another UNet: a `FILE` of a UNet alone, or of a checkpoint, in diffusers' or original names"

// registerParts adds what a model takes from other files, or is given in place of its own.
func (g *generateFlags) registerParts(fs *flag.FlagSet) {
	name(fs, "unet", unetUsage, &g.unet)
	fs.Func("prediction", "what the UNet predicts, a `kind`, where the model's files don't say so: "+strings.Join(sdxl.Predictions(), ", ")+"; v_zsnr is v with zero terminal SNR, as ComfyUI has it", func(s string) error {
		if !slices.Contains(sdxl.Predictions(), s) {
			return errors.New("must be one of " + strings.Join(sdxl.Predictions(), ", "))
		}
		g.prediction = s
		return nil
	})
	name(fs, "vae", vaeUsage, &g.vae)
}

// asPart names the flag of a part that can't be used.
func (g *generateFlags) asPart(err error) error {
	var part *sdxl.PartError
	if !errors.As(err, &part) {
		return err
	}
	switch part.Part {
	case "UNet":
		return fmt.Errorf("-unet %s: %w", g.unet, part.Err)
	case "VAE":
		return fmt.Errorf("-vae %s: %w", g.vae, part.Err)
	case "base":
		return fmt.Errorf("-base %s: %w", g.missing, part.Err)
	case "TAESD":
		return fmt.Errorf("-taesd %s: %w", g.taesd, part.Err)
	case "preview TAESD":
		return fmt.Errorf("-preview-taesd %s: %w", g.previewTAESD, part.Err)
	}
	return err
}

// oneOf is the error of a value that is not in a list.
func oneOf[T ~string](list []T, value T) error {
	if slices.Contains(list, value) {
		return nil
	}
	names := make([]string, len(list))
	for i, name := range list {
		names[i] = string(name)
	}
	return fmt.Errorf("must be one of %s", strings.Join(names, ", "))
}
