package lora

import (
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/nn/weights/singlefile"
)

// Components of a model that adapters change.
const (
	unet         = "unet"
	textEncoder  = "text_encoder"
	textEncoder2 = "text_encoder_2"
)

// module is a module of the model.
type module struct {
	component string
	path      string // diffusers' name, without ".weight"
}

// names finds modules by every spelling of their names. Dots and underscores count as the same, since kohya's spelling
// has no dots.
type names struct {
	modules map[string]map[string]string // component, then spelling with underscores, to path
	refiner bool                         // there is no first text encoder: "the text encoder" is the second
}

// newNames lists the spellings of the modules of targets.
func newNames(targets Targets) *names {
	n := &names{modules: map[string]map[string]string{}}
	for component, tensors := range targets {
		sorted := slices.Sorted(maps.Keys(tensors))
		var paths []string
		for _, name := range sorted {
			path, ok := strings.CutSuffix(name, ".weight")
			if !ok {
				path, ok = strings.CutSuffix(name, ".bias")
			}
			if ok {
				paths = append(paths, path)
			}
		}
		paths = slices.Compact(paths) // a module's bias stands before its weight
		spelled := map[string]string{}
		add := func(spelling, path string) {
			if key := flat(spelling); spelling != "" && spelled[key] == "" {
				spelled[key] = path
			}
		}
		for _, p := range paths { // own names come first, no other spelling may hide one
			add(p, p)
		}
		layout, _ := singlefile.UNetLayoutOf(sorted)
		for _, p := range paths {
			if component == unet {
				original, _ := layout.Original(p)
				add(original, p)
				// The attention processors that diffusers trained at first call the projection to_out.
				add(strings.TrimSuffix(p, ".0"), p)
				add(strings.TrimSuffix(original, ".0"), p)
				continue
			}
			bare := strings.TrimPrefix(p, "text_model.")
			for _, root := range []string{"", "text_model."} { // transformers 5.6 dropped it in CLIPTextModel
				add(root+bare, p)
				for old, is := range map[string]string{"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"} {
					if head, ok := strings.CutSuffix(bare, "self_attn."+is); ok {
						add(root+head+"self_attn."+old, p)
					}
				}
			}
		}
		n.modules[component] = spelled
	}
	_, first := targets[textEncoder]
	_, second := targets[textEncoder2]
	n.refiner = second && !first
	return n
}

// flat is a spelling with underscores only.
func flat(s string) string { return strings.ReplaceAll(s, ".", "_") }

// prefixes are what stands before a module's path, in the flat spelling, and the component that it names. The longer of
// two that fit comes first.
var prefixes = []struct{ text, component string }{
	{"lora_unet_", unet}, {"oft_unet_", unet}, {"lycoris_unet_", unet}, {"lycoris_", unet},
	{"model_diffusion_model_", unet}, {"diffusion_model_", unet}, {"unet_", unet},
	{"lora_te1_", textEncoder}, {"lora_te2_", textEncoder2},
	{"lora_text_encoder_2_", textEncoder2}, {"lora_text_encoder_", textEncoder},
	{"text_encoder_2_", textEncoder2}, {"text_encoder_", textEncoder},
	{"text_encoders_clip_l_transformer_", textEncoder}, {"text_encoders_clip_g_transformer_", textEncoder2},
	{"clip_l_transformer_", textEncoder}, {"clip_g_transformer_", textEncoder2},
	{"clip_l_", textEncoder}, {"clip_g_", textEncoder2},
	{"lora_te_", textEncoder}, // before SDXL there was one
	{"", unet},
}

// single are the prefixes of files that know one text encoder: a refiner's is the second of SDXL.
var single = map[string]bool{"lora_te_": true, "text_encoder_": true, "lora_text_encoder_": true}

// find resolves a module's name.
func (n *names) find(stem string) (module, bool) {
	s := strings.TrimPrefix(flat(stem), "base_model_model_") // PEFT's own wrapper
	s = strings.Replace(s, "_processor_to_", "_to_", 1)
	for _, p := range prefixes {
		rest, ok := strings.CutPrefix(s, p.text)
		if !ok {
			continue
		}
		component := p.component
		if n.refiner && single[p.text] {
			component = textEncoder2
		}
		if path, ok := n.modules[component][rest]; ok {
			return module{component, path}, true
		}
	}
	return module{}, false
}

// superfluous reports whether a name is one that files hold though no model has a place for it: the projection of the
// first text encoder, which SDXL leaves out (OneTrainer).
func superfluous(stem string) bool {
	s := flat(stem)
	return s == "lora_te1_text_projection" || s == "text_encoder_text_projection" || s == "clip_l_transformer_text_projection"
}
