package main

import (
	"errors"
	"flag"
	"math"
	"strconv"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

// registerGuidance adds what changes guidance, or is beside it.
func (g *generateFlags) registerGuidance(fs *flag.FlagSet) {
	r := &g.request
	// within is a flag of a number in a range; a NaN is in none.
	within := func(name, usage, allowed string, in func(float64) bool, set func(float64)) {
		fs.Func(name, usage, func(s string) error {
			f, err := strconv.ParseFloat(s, 64)
			if err != nil || !in(f) {
				return errors.New("must be " + allowed)
			}
			set(f)
			return nil
		})
	}
	scale := func(f float64) bool { return f >= 0 && f <= math.MaxFloat32 }
	within("guidance-rescale", "guidance rescale `φ`, 0 to 1; without it the model's own, or 0", "0 to 1",
		func(f float64) bool { return f >= 0 && f <= 1 }, func(f float64) { r.GuidanceRescale = &f })
	within("guidance-start", "the `fraction` of the steps, 0 and more, below 1, before which there is no guidance: the negative side is not computed there", "0 and more, below 1",
		func(f float64) bool { return f >= 0 && f < 1 }, func(f float64) { r.GuidanceStart = f })
	within("guidance-end", "the `fraction` of the steps, above 0, up to 1, after which there is no guidance any more", "above 0, up to 1",
		func(f float64) bool { return f > 0 && f <= 1 }, func(f float64) { r.GuidanceEnd = f })
	within("pag-scale", "perturbed attention guidance (PAG) of this `scale`, beside other guidance or without; 3 in diffusers; takes one more evaluation of the UNet a step; 0, the default, is none", "0 or more",
		scale, func(f float64) { r.PAGScale = f })
	within("pag-adaptive-scale", "how much less -pag-scale is for each timestep after 1000, a `number` such as 0.003; where that makes it 0, a step costs nothing more", "0 or more",
		scale, func(f float64) { r.PAGAdaptiveScale = f })
	fs.Func("pag-layers", "the self-attentions that -pag-scale perturbs: `names` with commas between, each a regular expression of module paths, as diffusers' pag_applied_layers: mid, the default, down_blocks.1, up_blocks.0.attentions.1", func(s string) error {
		r.PAGAppliedLayers = strings.Split(s, ",")
		return nil
	})
	fs.Func("freeu", "FreeU, factors `S1:S2:B1:B2` above 0: of the low frequencies of skip connections, of the first and the second block of the UNet's way up, and of half the channels that those get from below; its authors have 0.9:0.2:1.3:1.4 for SDXL", func(s string) error {
		parts := strings.Split(s, ":")
		factors := make([]float64, len(parts))
		for i, part := range parts {
			var err error
			if factors[i], err = strconv.ParseFloat(part, 64); err != nil || len(parts) != 4 {
				return errors.New("must be S1:S2:B1:B2, four numbers above 0, such as 0.9:0.2:1.3:1.4")
			}
		}
		r.FreeU = &sdxl.FreeU{S1: factors[0], S2: factors[1], B1: factors[2], B2: factors[3]}
		return nil
	})
}
