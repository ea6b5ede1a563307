package singlefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// splitter finds the components in a file's tensors.
type splitter struct {
	src     kernels.Source
	names   []string // sorted
	parts   map[string]map[string]part
	claimed map[string]bool
}

// add claims a tensor of the file for a component's.
func (s *splitter) add(component, name string, p part) error {
	if s.parts[component] == nil {
		s.parts[component] = map[string]part{}
	}
	if first, twice := s.parts[component][name]; twice {
		return fmt.Errorf("tensors %s and %s both stand for %s of %s", first.tensor, p.tensor, name, component)
	}
	s.parts[component][name] = p
	s.claimed[p.tensor] = true
	return nil
}

// under lists the names with a prefix, without it, sorted.
func (s *splitter) under(prefix string) (names []string) {
	i, _ := slices.BinarySearch(s.names, prefix)
	for _, name := range s.names[i:] {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			break
		}
		names = append(names, rest)
	}
	return names
}

// rename claims what a function names of the tensors with a prefix; what it does not is left over.
func (s *splitter) rename(component, prefix string, names []string, rename func(string) (string, bool)) error {
	for _, name := range names {
		if to, ok := rename(name); ok {
			if err := s.add(component, to, part{tensor: prefix + name}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *splitter) unet(t weights.UNetTraits) error {
	names := s.under(t.Prefix)
	if t.Original {
		layout, ok := UNetLayoutOf(names)
		if !ok {
			return fmt.Errorf("the UNet at %q is none of SDXL's kind: its way up is not the mirror of its way down", t.Prefix)
		}
		return s.rename(UNet, t.Prefix, names, layout.Diffusers)
	}
	modules := []string{"conv_in.", "conv_out.", "conv_norm_out.", "time_embedding.", "add_embedding.", "down_blocks.", "mid_block.", "up_blocks."}
	return s.rename(UNet, t.Prefix, names, func(name string) (string, bool) {
		return name, slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(name, m) })
	})
}

// vaePrefixes are where files keep a VAE.
var vaePrefixes = []string{"first_stage_model.", "vae."}

func (s *splitter) vae(prefixes []string) error {
	for _, prefix := range prefixes {
		if has(s.names, prefix+"decoder.conv_in.") {
			names := s.under(prefix)
			return s.rename(VAE, prefix, names, VAELayoutOf(names).Diffusers)
		}
	}
	return nil
}

// encoders finds the text encoders: L and G of a base, or G alone, whose width is then that of all prompt embeddings,
// context, unless L is missing.
func (s *splitter) encoders(context int) error {
	for embedder, component := range []string{TextEncoder, TextEncoder2} {
		prefix := fmt.Sprintf("conditioner.embedders.%d.", embedder)
		if prefix := prefix + "model."; has(s.names, prefix+"token_embedding.") {
			if err := s.openCLIP(prefix); err != nil {
				return err
			}
			continue
		}
		for _, model := range []string{prefix + "transformer.", prefix + "model."} {
			for _, start := range []string{"text_model.", ""} { // transformers from 5.6 on leaves it out
				token := model + start + "embeddings.token_embedding.weight"
				if !has(s.names, token) {
					continue
				}
				if _, shape, err := s.src.Describe(token); err == nil && len(shape) == 2 && shape[1] == context {
					component = TextEncoder2
				}
				if err := s.transformersCLIP(component, model, start); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

// openCLIP claims an encoder in OpenCLIP's names, which is always SDXL's second.
func (s *splitter) openCLIP(prefix string) error {
	for _, name := range s.under(prefix) {
		tensors := openCLIPTensors(name)
		for i, to := range tensors {
			p := part{tensor: prefix + name, transpose: name == "text_projection"}
			if len(tensors) == len(fusedParts) {
				p.third = i + 1
			}
			if err := s.add(TextEncoder2, to, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// transformersCLIP claims an encoder in transformers' names.
func (s *splitter) transformersCLIP(component, prefix, start string) error {
	return s.rename(component, prefix, s.under(prefix), func(name string) (string, bool) {
		switch {
		case strings.HasSuffix(name, "position_ids"), strings.HasSuffix(name, "logit_scale"):
			return "", false
		case name == "text_projection.weight":
			return name, component == TextEncoder2 // the first has none; some files keep one that nothing uses
		case start != "" && strings.HasPrefix(name, start):
			return name, true
		case start == "" && (strings.HasPrefix(name, "embeddings.") || strings.HasPrefix(name, "encoder.") || strings.HasPrefix(name, "final_layer_norm.")):
			return "text_model." + name, true
		}
		return "", false
	})
}

// unclaimed lists what no component has and is not bookkeeping.
func (s *splitter) unclaimed(unetPrefix string) (names []string) {
	for _, name := range s.names {
		switch {
		case s.claimed[name], isBookkeeping(name):
		case unetPrefix != "" && isBookkeeping(strings.TrimPrefix(name, unetPrefix)):
		case strings.HasPrefix(name, "conditioner.embedders.0.transformer.text_projection."): // of the first encoder, unused
		default:
			names = append(names, name)
		}
	}
	return names
}
