package sdxl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn"
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

// pagAt is the scale at an evaluation. Source: diffusers pipelines/pag/pag_utils.py, _get_pag_scale.
func (q *resolved) pagAt(i int) float64 {
	if q.PAGScale == 0 || q.PAGAdaptiveScale == 0 {
		return q.PAGScale
	}
	return max(0, q.PAGScale-q.PAGAdaptiveScale*(1000-q.schedule.Steps[i].Timestep))
}

// perturbedShape is what a compiled step depends on: a 1 for each self-attention that is the identity, and 0 for others.
func perturbedShape(perturbed []bool) string {
	var s strings.Builder
	for _, is := range perturbed {
		if is {
			s.WriteByte('1')
		} else {
			s.WriteByte('0')
		}
	}
	return s.String()
}

// perturbedAttentions undoes perturbedShape.
func (s shape) perturbedAttentions() (all []bool) {
	for _, c := range s.perturbed {
		all = append(all, c == '1')
	}
	return all
}

// sides are the UNet's evaluations of a step, each with inputs of its own: the step's, and the perturbed one.
func (s shape) sides() []shape {
	if s.perturbed == "" || s.alone {
		return []shape{s}
	}
	return []shape{s, s.perturbedSide()}
}

// perturbedSide is the shape of the positive side alone, with the perturbed attentions.
func (s shape) perturbedSide() shape {
	s.guided, s.rescaled, s.alone, s.beside = false, false, true, s.guided
	return s
}

const (
	pagPlus      = "pag plus"
	pagMinus     = "pag minus"
	negativeRows = "negative rows"
)

// guidePerturbed builds guidance with what the perturbed side predicts, q. Without another negative side it is
// c + p·(c − q), and with one u + g·(c − u) + p·(c − q), which is u' + (g+p)·(c − u') of u' = u + p/(g+p−1)·(q − u), so
// that rescaling is the same. Source: diffusers pipelines/pag/pag_utils.py, _apply_perturbed_attention_guidance.
func guidePerturbed(q *nn.Value) func(b *nn.Builder, s shape, parts []*nn.Value, none *nn.Value) *nn.Value {
	return func(b *nn.Builder, s shape, parts []*nn.Value, none *nn.Value) *nn.Value {
		m := parts[0]
		plus, minus := b.Input(pagPlus, kernels.Step, kernels.F32, 1), b.Input(pagMinus, kernels.Step, kernels.F32, 1)
		if !s.guided {
			return b.Add(b.ScaleRepeat(m, plus, 1), b.ScaleRepeat(q, minus, 1))
		}
		negative := b.Input(negativeRows, kernels.Request, kernels.F32, s.unetBatch(), s.height*s.width)
		m = b.AddMasked(m, b.ScaleRepeat(m, minus, 1), negative)
		m = b.AddMasked(m, b.ScaleRepeat(q, plus, 2), negative)
		return guide(b, s, []*nn.Value{m}, none)
	}
}

// setPerturbed writes the scalars of guidePerturbed, and sets the scale of what is guided with them.
func (s shape) setPerturbed(p *nn.Program, g *stepGuidance) error {
	plus, minus := 1+g.pag, -g.pag
	if s.guided {
		g.scale += g.pag
		plus = g.pag / (g.scale - 1)
		minus = -plus
	}
	if err := p.SetFloats(pagPlus, float32(plus)); err != nil {
		return err
	}
	return p.SetFloats(pagMinus, float32(minus))
}

// setNegativeRows says which rows are the negative side's.
func (s shape) setNegativeRows(p *nn.Program) error {
	if s.perturbed == "" || !s.guided {
		return nil
	}
	n := s.batch * s.height * s.width
	return p.SetFloats(negativeRows, append(slices.Repeat([]float32{1}, n), make([]float32, n)...)...)
}
