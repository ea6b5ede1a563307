package lora

import (
	"fmt"
	"slices"
	"strings"
)

// widths are the context widths of the Stable Diffusion families.
var widths = map[int]string{768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 1280: "the SDXL refiner", 2048: "SDXL base"}

// foreign are names that modules of other families have.
var foreign = []struct{ mark, family string }{
	{"joint_blocks", "Stable Diffusion 3"}, {"double_blocks", "Flux"}, {"single_transformer_blocks", "Flux"}, {"single_blocks", "Flux"},
	{"lora_prior_", "Stable Cascade"}, {"cross_attn", "a video model (Wan)"}, {"lora_transformer", "a transformer (Flux, Stable Diffusion 3 or another)"},
	{"transformer.transformer_blocks", "a transformer (Flux, Stable Diffusion 3 or another)"},
	{"diffusion_model.layers.", "a transformer (Lumina, Z-Image or another)"}, {"adaLN", "a diffusion transformer"},
}

// contextWidth is the width of the text that the cross attention of a UNet reads: the inputs of attn2.to_k. Metadata
// does not count, for it is often wrong. It is 0 if no key tells.
func contextWidth(groups []*group) int {
	for _, g := range groups {
		stem := flat(g.stem)
		if !strings.HasSuffix(stem, "attn2_to_k") && !strings.HasSuffix(stem, "attn2_to_v") {
			continue
		}
		for _, p := range []part{down, hadaW1B, diff, setWeight} {
			if p == down && g.has(mid) || p == hadaW1B && g.has(hadaT1) || !g.has(p) {
				continue
			}
			if _, shape, _, err := g.file.Stored(g.keys[p]); err == nil && len(shape) > 1 {
				return shape[1]
			}
		}
	}
	return 0
}

// modelWidth is the context width of the model, 0 if it has no cross attention.
func modelWidth(t Targets) int {
	for name, shape := range t[unet] {
		if strings.HasSuffix(name, "attn2.to_k.weight") && len(shape) > 1 {
			return shape[1]
		}
	}
	return 0
}

// otherFamily names the family that a file is for if that is not the model's, "" otherwise.
func otherFamily(keys []string, groups []*group, targets Targets) string {
	file, model := contextWidth(groups), modelWidth(targets)
	if file != 0 && model != 0 && file != model {
		is, wants := widths[file], widths[model]
		if is == "" {
			is = "another model"
		}
		if wants != "" {
			wants = ", " + wants
		}
		return fmt.Sprintf("it is for %s: its context width is %d, but the model's is %d%s", is, file, model, wants)
	}
	for _, f := range foreign {
		if file == 0 && slices.ContainsFunc(keys, func(k string) bool { return strings.Contains(k, f.mark) }) {
			return "it is for " + f.family
		}
	}
	return ""
}
