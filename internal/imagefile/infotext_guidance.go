package imagefile

import (
	"slices"
	"strconv"

	"github.com/goxl/goxl/models/sdxl"
)

// addGuidance adds what A1111 says of guidance that begins late (modules/sd_samplers_cfg_denoiser.py), and Forge's
// built-in extensions of PAG and FreeU. An end of guidance, and PAG elsewhere than in the middle, they have no name for.
func (p Parameters) addGuidance(add func(key, value string)) {
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	steps := p.Steps // that are run
	if p.Strength > 0 {
		steps = int(float64(p.Steps) * p.Strength)
	}
	if first := sdxl.GuidedFrom(p.GuidanceStart, steps); first > 0 {
		// A1111 leaves out the steps of which step/steps is up to this.
		add("Skip Early CFG", strconv.FormatFloat((float64(first)-0.5)/float64(steps), 'g', 4, 64))
	}
	if p.PAGScale > 0 && p.PAGAdaptiveScale == 0 && slices.Equal(p.PAGAppliedLayers, []string{"mid"}) {
		add("PerturbedAttentionGuidance_enabled", "True")
		add("PerturbedAttentionGuidance_scale", number(p.PAGScale))
	}
	if u := p.FreeU; u != nil {
		add("freeu_enabled", "True")
		for _, f := range []struct {
			key   string
			value float64
		}{{"freeu_b1", u.B1}, {"freeu_b2", u.B2}, {"freeu_s1", u.S1}, {"freeu_s2", u.S2}} {
			add(f.key, number(f.value))
		}
	}
}
