package sdxl

import (
	"context"
	"math"
	"slices"

	"github.com/goxl/goxl/tokenizer/prompt"
)

// conditioning is what the UNet is conditioned on.
type conditioning struct {
	phases  []sides   // distinct ones
	steps   []int     // the phase of each step; nil is the first
	weights []float64 // of the positive parts; nil is one of weight 1
	aligned bool      // time ids come in the order of the other rows
	pag     bool      // there is a perturbed side
	images  []imageStates

	members []*conditioning // of a batch, in place of phases: a phase is a step at which a member's begins
}

// sides is what conditions a step: the negative side and the parts of the positive one.
type sides struct {
	negative side
	positive []side
}

// side is one side of guidance, with one row for each image.
type side struct {
	text, pooled, timeIDs [][]float32
}

// phase is that of a step; after the last step it is the last one's.
func (c *conditioning) phase(step int) int {
	if c.steps == nil {
		return 0
	}
	return c.steps[min(step, len(c.steps)-1)]
}

// condition encodes the prompts, or takes their embeddings, and adds micro-conditioning.
func (m *Model) condition(ctx context.Context, q *resolved, guided bool, warn func(string)) (*conditioning, error) {
	c := &conditioning{aligned: q.Task.ofImage(), pag: q.PAGScale > 0}
	ids, negativeIDs := m.timeIDsOf(q)
	fill := func(e embeddings, ids []float32) (s side) {
		for i := range e.hidden {
			for range q.ImagesPerPrompt {
				s.text, s.pooled, s.timeIDs = append(s.text, e.hidden[i]), append(s.pooled, e.pooled[i]), append(s.timeIDs, ids)
			}
		}
		return s
	}
	if q.request.Embeddings != nil {
		pos, neg, err := m.embed(ctx, q, guided, warn)
		if err != nil {
			return nil, err
		}
		c.phases = []sides{{fill(neg, negativeIDs), []side{fill(pos, ids)}}}
		return c, nil
	}
	plan, err := m.plan(q, guided, warn)
	if err != nil {
		return nil, err
	}
	all, err := m.encodePlan(ctx, plan, q.request.TextualInversions, q.request.Taps)
	if err != nil {
		return nil, err
	}
	for _, f := range plan.phases {
		s := sides{negative: fill(f.negativeSide(all), negativeIDs)}
		for part := range f.positive {
			s.positive = append(s.positive, fill(f.side(all, part), ids))
		}
		c.phases = append(c.phases, s)
	}
	c.steps, c.weights = plan.steps, plan.weights
	return c, nil
}

// embed gives the request's own embeddings, and those of its negative prompt, which is one text for all steps.
func (m *Model) embed(ctx context.Context, q *resolved, guided bool, warn func(string)) (pos, neg embeddings, err error) {
	given := q.request.Embeddings
	n, tokens := given.Prompt.Shape[0], given.Prompt.Shape[1]
	rows := func(t *Tensor) (list [][]float32) { // copied: the run may be loaded anew after the caller has changed his
		return slices.Collect(slices.Chunk(slices.Clone(t.Data), len(t.Data)/n))
	}
	pos = embeddings{rows(given.Prompt), rows(given.Pooled)}
	if !guided {
		return pos, neg, nil
	}
	if given.Negative != nil {
		return pos, embeddings{rows(given.Negative), rows(given.NegativePooled)}, nil
	}
	without := Prompt{NegativePrompt: q.request.NegativePrompt, NegativePrompt2: q.request.NegativePrompt2}
	if m.spec.forceZeros && without.NegativePrompt == nil {
		zero := pos.zero()
		return pos, embeddings{slices.Repeat(zero.hidden, n), slices.Repeat(zero.pooled, n)}, nil
	}
	p, err := m.newPlanner(q, warn)
	if err != nil {
		return pos, neg, err
	}
	if _, err := p.text(p.parse(0, negative(without), q.totalSteps(), prompt.ParseNegative), 0, q.firstStep, 0); err != nil {
		return pos, neg, err
	}
	if have := p.plan.chunks * m.Tokenizer2.MaxLength(); tokens != have {
		return pos, neg, bad("negative_prompt_embeds", "absent", "given, since prompt_embeds has %d tokens and a negative prompt %d", tokens, have)
	}
	all, err := m.encodePlan(ctx, p.plan, q.request.TextualInversions, q.request.Taps)
	if err != nil {
		return pos, neg, err
	}
	return pos, embeddings{slices.Repeat(all[0].hidden, n), slices.Repeat(all[0].pooled, n)}, nil
}

// rows lays a part of a phase out as the UNet's batch takes it: the negative side, then the positive one, or that alone.
func (c *conditioning) rows(s shape, phase, part int) (text, pooled, timeIDs []float32) {
	if c.members != nil {
		return c.memberRows(s, phase, part)
	}
	negative, positive := c.phases[phase].negative, c.phases[phase].positive[part]
	if !s.guided {
		if s.beside && !c.aligned {
			return slices.Concat(positive.text...), slices.Concat(positive.pooled...), slices.Concat(c.alternating(negative, positive)[2*len(positive.timeIDs):]...)
		}
		return slices.Concat(positive.text...), slices.Concat(positive.pooled...), slices.Concat(positive.timeIDs...)
	}
	both := func(of func(side) [][]float32) []float32 {
		return slices.Concat(slices.Concat(of(negative), of(positive))...)
	}
	text = both(func(s side) [][]float32 { return s.text })
	pooled = both(func(s side) [][]float32 { return s.pooled })
	if c.aligned {
		return text, pooled, both(func(s side) [][]float32 { return s.timeIDs })
	}
	return text, pooled, slices.Concat(c.alternating(negative, positive)[:2*len(positive.timeIDs)]...)
}

// alternating are the time ids of all sides: the text-to-image pipeline repeats those of one image, so that they
// alternate while the other rows do not.
func (c *conditioning) alternating(negative, positive side) (all [][]float32) {
	for i := range positive.timeIDs {
		all = append(all, negative.timeIDs[i], positive.timeIDs[i])
		if c.pag {
			all = append(all, positive.timeIDs[i])
		}
	}
	return all
}

// timeIDsOf returns the added time ids of the positive and the negative side; see Request for the fields.
func (m *Model) timeIDsOf(q *resolved) (ids, negative []float32) {
	pair := func(a, b int) []float32 { return []float32{float32(a), float32(b)} }
	of := func(s Size, rest ...float32) []float32 { return append(pair(s.Height, s.Width), rest...) }
	crop, negativeCrop := pair(q.Crop[0], q.Crop[1]), pair(q.NegativeCrop[0], q.NegativeCrop[1])
	ids = of(q.OriginalSize, crop...)
	if m.spec.aestheticScore {
		negative = of(sizeOr(q.NegativeOriginalSize, q.OriginalSize), negativeCrop...)
		return append(ids, float32(*q.AestheticScore)), append(negative, float32(*q.NegativeAestheticScore))
	}
	ids = append(ids, pair(q.TargetSize.Height, q.TargetSize.Width)...)
	original, target := q.NegativeOriginalSize, q.NegativeTargetSize
	if q.Task.ofImage() {
		// As upstream: each negative size stands alone, and the crop is the positive one.
		original, target, negativeCrop = sizeOr(original, q.OriginalSize), sizeOr(target, q.TargetSize), crop
	} else if original == (Size{}) || target == (Size{}) {
		return ids, slices.Clone(ids)
	}
	return ids, append(of(original, negativeCrop...), pair(target.Height, target.Width)...)
}

// guidanceEmbedding is the guidance scale for models that were distilled with guidance: sines, then cosines of
// (g−1)·1000·f. Source: diffusers pipeline_stable_diffusion_xl.py, get_guidance_scale_embedding.
func guidanceEmbedding(guidance float64, dim int) []float32 {
	half := dim / 2
	w := float32(guidance-1) * 1000
	step := float32(math.Log(10000)) / float32(half-1)
	out := make([]float32, dim)
	for i := range half {
		f := float32(math.Exp(float64(float32(float32(i) * -step))))
		a := float64(float32(w * f))
		out[i], out[half+i] = float32(math.Sin(a)), float32(math.Cos(a))
	}
	return out
}
