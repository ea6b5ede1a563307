package taesd

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// halves are the prefixes under which files have a half's layers, longest first: diffusers', ComfyUI's in one file, and
// the original repository's.
var halves = []struct {
	prefix, to string
	shift      int // of the layers' numbers: the original decoder has its clamp as layer 0
}{
	{"encoder.layers.", "encoder", 0}, {"decoder.layers.", "decoder", 0},
	{"taesd_encoder.", "encoder", 0}, {"taesd_decoder.", "decoder", -1},
	{"encoder.", "encoder", 0}, {"decoder.", "decoder", -1},
}

// diffusersNames gives a checkpoint diffusers' names. A file of one half alone (taesdxl_encoder, taesdxl_decoder) has
// bare numbers: the encoder's first convolution is layer 0, the decoder's layer 1.
func diffusersNames(src kernels.Source) kernels.Source {
	bare, shift := "decoder", -1
	if slices.Contains(src.Names(), "0.weight") {
		bare, shift = "encoder", 0
	}
	return weights.Rename(src, func(name string) string {
		if name == "vae_scale" || name == "vae_shift" { // ComfyUI's, of latents before they are the UNet's
			return ""
		}
		for _, h := range halves {
			if rest, ok := strings.CutPrefix(name, h.prefix); ok {
				if to, ok := layer(h.to, rest, h.shift); ok {
					return to
				}
			}
		}
		if to, ok := layer(bare, name, shift); ok {
			return to
		}
		return name
	})
}

// layer is diffusers' name of a layer's tensor whose number is shifted.
func layer(half, rest string, shift int) (string, bool) {
	number, tensor, ok := strings.Cut(rest, ".")
	k, err := strconv.Atoi(number)
	if !ok || err != nil || k+shift < 0 || strconv.Itoa(k) != number {
		return "", false
	}
	return fmt.Sprintf("%s.layers.%d.%s", half, k+shift, tensor), true
}

// Detect finds the configuration of a checkpoint, of either half or both, by its names and shapes.
func Detect(src kernels.Source) (Config, error) {
	src = diffusersNames(src)
	names := src.Names()
	has := func(name string) bool { _, found := slices.BinarySearch(names, name); return found }
	dim := func(name string, axis int) int {
		if _, shape, err := src.Describe(name); err == nil && len(shape) == 4 {
			return shape[axis]
		}
		return 0
	}
	c := TAESDXL
	const encoder, decoder = "encoder.layers.", "decoder.layers."
	encodes, decodes := has(encoder+"0.weight"), has(decoder+"0.weight")
	if !encodes && !decodes {
		return c, errors.New("must be a TAESD: no tensor is its first convolution (encoder.layers.0.weight, decoder.layers.0.weight, or 0.weight or 1.weight of an original file)")
	}
	// count is how many blocks follow from a layer on.
	count := func(half string, k int) (n int) {
		for has(fmt.Sprintf("%s%d.conv.0.weight", half, k+n)) {
			n++
		}
		return n
	}
	levels := func(half string, k, gap int) (blocks []int, err error) {
		for {
			n := count(half, k)
			blocks = append(blocks, n)
			k += n
			switch {
			case has(fmt.Sprintf("%s%d.bias", half, k)):
				return blocks, nil
			case len(blocks) == maxLevels || !has(fmt.Sprintf("%s%d.weight", half, k+gap)):
				return nil, fmt.Errorf("must be a TAESD: layer %s%d is missing", half, k)
			}
			k += gap + 1
		}
	}
	var err error
	if encodes {
		if c.NumEncoderBlocks, err = levels(encoder, 1, 0); err != nil {
			return c, err
		}
		c.EncoderBlockOutChannels = slices.Repeat([]int{dim(encoder+"0.weight", 0)}, len(c.NumEncoderBlocks))
		c.InChannels = dim(encoder+"0.weight", 1)
		last := len(c.NumEncoderBlocks)
		for _, n := range c.NumEncoderBlocks {
			last += n
		}
		c.LatentChannels = dim(fmt.Sprintf("%s%d.weight", encoder, last), 0)
	}
	if decodes {
		if c.NumDecoderBlocks, err = levels(decoder, 2, 1); err != nil {
			return c, err
		}
		c.DecoderBlockOutChannels = slices.Repeat([]int{dim(decoder+"0.weight", 0)}, len(c.NumDecoderBlocks))
		c.LatentChannels = dim(decoder+"0.weight", 1)
	}
	switch { // what is not there is as the other half
	case !encodes:
		c.NumEncoderBlocks, c.EncoderBlockOutChannels = c.NumDecoderBlocks, c.DecoderBlockOutChannels
	case !decodes:
		c.NumDecoderBlocks, c.DecoderBlockOutChannels = c.NumEncoderBlocks, c.EncoderBlockOutChannels
	}
	return c, c.validate("weights")
}
