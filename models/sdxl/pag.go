package sdxl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// defaultPAGLayers are those of diffusers' pipelines: the middle's.
var defaultPAGLayers = []string{"mid"}

// maxPAGLayers is how many expressions a request may have.
const maxPAGLayers = 64

// PAGLayers are the module paths of the UNet's self-attentions, of which Request.PAGAppliedLayers are expressions.
func (s *Spec) PAGLayers() []string { return s.UNet.SelfAttentions() }

// resolvePAG checks perturbed attention guidance.
func (s *Spec) resolvePAG(q *resolved) error {
	r := &q.request
	for _, f := range []field[float64]{{"pag_scale", r.PAGScale}, {"pag_adaptive_scale", r.PAGAdaptiveScale}} {
		if !isFinite(f.value) || f.value < 0 {
			return bad(f.name, f.value, "0, or a number above it that is finite in float32")
		}
	}
	if r.PAGScale == 0 {
		return nil
	}
	if q.schedule.Unconditional {
		return bad("pag_scale", r.PAGScale, "0 with scheduler %q: there is no perturbed attention guidance with CFG++", q.Scheduler)
	}
	q.PAGScale, q.PAGAdaptiveScale, q.PAGAppliedLayers = r.PAGScale, r.PAGAdaptiveScale, slices.Clone(r.PAGAppliedLayers)
	if len(q.PAGAppliedLayers) == 0 {
		q.PAGAppliedLayers = slices.Clone(defaultPAGLayers)
	}
	var err error
	q.perturbed, err = s.perturbed(q.PAGAppliedLayers)
	return err
}

// perturbed says of each of the UNet's self-attentions whether an expression is found in its path. Source: diffusers
// pipelines/pag/pag_utils.py, _set_pag_attn_processor.
func (s *Spec) perturbed(layers []string) ([]bool, error) {
	const field = "pag_applied_layers"
	if len(layers) > maxPAGLayers {
		return nil, bad(field, fmt.Sprintf("a list of %d", len(layers)), "at most %d", maxPAGLayers)
	}
	paths := s.PAGLayers()
	all := make([]bool, len(paths))
	for _, layer := range layers {
		found := false
		expression, err := regexp.Compile(layer)
		for i, path := range paths {
			if err == nil && expression.MatchString(path) {
				all[i], found = true, true
			}
		}
		if !found {
			return nil, &RequestError{Field: field, Value: fmt.Sprintf("%q", layer), Allowed: "what is found in the path of one of the UNet's self-attentions: mid, or a regular expression such as " + strings.Join(blocksOf(paths), ", "), Err: err}
		}
	}
	return all, nil
}

// blocksOf are the blocks and transformers of self-attentions' paths.
func blocksOf(paths []string) (names []string) {
	for _, path := range paths {
		transformer, _, _ := strings.Cut(path, ".transformer_blocks.")
		block, _, _ := strings.Cut(transformer, ".attentions.")
		for _, name := range []string{block, transformer} {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
