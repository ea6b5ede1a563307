package vae

import (
	"math"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn"
)

// tapsOf returns the taps of the decoder, or of the encoder, with the model's own values. One that only matches modules
// of the other half is none of this one; one that matches nothing stays, for the error.
func (a *Autoencoder) tapsOf(decoder bool, taps []nn.Tap) []nn.Tap {
	if len(taps) == 0 {
		return nil
	}
	matches := func(t nn.Tap, decoder bool) bool {
		for name := range nn.Shapes(a.model) {
			if isDecoder := strings.HasPrefix(name, "decoder.") || strings.HasPrefix(name, "post_quant_conv."); isDecoder != decoder {
				continue
			}
			for i, c := range name {
				if c == '.' && t.Matches(name[:i]) {
					return true
				}
			}
		}
		return false
	}
	taps = slices.DeleteFunc(slices.Clone(taps), func(t nn.Tap) bool { return !matches(t, decoder) && matches(t, !decoder) })
	return a.unscaled(taps)
}

// VerifyTaps returns the error that decoding latents of height×width has with these taps, such as one that finds no
// module, before anything is computed.
func (a *Autoencoder) VerifyTaps(height, width int, taps ...nn.Tap) error {
	_, build := a.decoding(height, width)
	return nn.VerifyTaps(build, a.tapsOf(true, taps)...)
}

// unscaled returns taps whose functions have the model's own values where the residual stream is rescaled: all factors
// are powers of two, so that nothing is rounded.
func (a *Autoencoder) unscaled(taps []nn.Tap) []nn.Tap {
	if a.shift == 0 {
		return taps
	}
	taps = slices.Clone(taps)
	for i, t := range taps {
		if t.Read != nil {
			taps[i].Read = func(path string, x *nn.Tensor) {
				shiftStream(path, x, a.shift)
				t.Read(path, x)
			}
		}
		if t.Replace != nil {
			taps[i].Replace = func(path string, x *nn.Tensor) *nn.Tensor {
				shiftStream(path, x, a.shift)
				if y := t.Replace(path, x); y != nil {
					x = y.Clone()
				}
				shiftStream(path, x, -a.shift)
				return x
			}
		}
	}
	return taps
}

// shiftStream multiplies the output of a module with 2^by if it is part of the residual stream.
func shiftStream(path string, x *nn.Tensor, by int) {
	if !inStream(path) {
		return
	}
	factor := float32(math.Ldexp(1, by))
	for i := range x.Data {
		x.Data[i] *= factor
	}
}

// inStream reports whether what a module gives is rescaled; see rescaled.
func inStream(path string) bool {
	path, _, _ = strings.Cut(path, "#")
	parts := strings.Split(path, ".")
	last := parts[len(parts)-1]
	if strings.Trim(last, "0123456789") == "" { // one of a list: a level, a block, a sampler, or to_out.0
		return true
	}
	switch last {
	case "conv_in", "conv1", "conv2", "conv_shortcut", "mid_block", "conv":
		return true
	}
	return false
}
