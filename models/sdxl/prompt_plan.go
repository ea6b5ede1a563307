package sdxl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/tokenizer"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// promptPlan is what prompts ask for, before anything is encoded: distinct texts as chunks, and which of them condition
// each step.
type promptPlan struct {
	style    prompt.Style
	emphasis Emphasis
	texts    []plannedText
	phases   []planPhase
	steps    []int     // the phase of each step; nil is the first
	weights  []float64 // of the parts of the positive side; nil is one of weight 1
	chunks   int       // of every text, the shorter ones padded
}

// planPhase is the texts of some steps: indices of promptPlan.texts.
type planPhase struct {
	positive [][]int // by part and prompt
	negative []int   // by prompt; noText is zeros
}

const noText = -1

// plannedText is a text, or one for each encoder, as each encoder's chunks.
type plannedText struct {
	texts
	skip   int // clip_skip
	chunks [2][]prompt.Chunk
	compel [2]*compelText // in place of chunks
}

// planner collects the texts of a plan.
type planner struct {
	m        *Model
	q        *resolved
	plan     *promptPlan
	chunkers [2]*prompt.Chunker
	warn     func(string)
	known    map[string]int // index of a text, by place and text
}

// plan reads the prompts of a request.
func (m *Model) plan(q *resolved, guided bool, warn func(string)) (*promptPlan, error) {
	p, err := m.newPlanner(q, warn)
	if err != nil {
		return nil, err
	}
	n := q.totalSteps()
	var positives, negatives []parsed
	for i, one := range q.Prompts {
		positives = append(positives, p.parse(i, positive(one), n, prompt.Parse))
	}
	if p.plan.weights, err = m.partWeights(q, positives); err != nil {
		return nil, err
	}
	guided = guided || p.plan.weights != nil // to join parts takes the negative side at every scale
	for i, one := range q.Prompts {
		if guided && !(m.spec.forceZeros && one.NegativePrompt == nil) {
			negatives = append(negatives, p.parse(i, negative(one), n, prompt.ParseNegative))
		} else if guided {
			negatives = append(negatives, parsed{})
		}
	}
	steps := make([]int, max(1, len(q.schedule.Steps)))
	for step := range steps {
		var phase planPhase
		for part := range max(1, len(p.plan.weights)) {
			var row []int
			for _, of := range positives {
				index, err := p.text(of, part, step+q.firstStep, q.ClipSkip)
				if err != nil {
					return nil, err
				}
				row = append(row, index)
			}
			phase.positive = append(phase.positive, row)
		}
		for _, of := range negatives {
			index, err := p.text(of, 0, step+q.firstStep, 0) // clip_skip does not act on the negative prompt
			if err != nil {
				return nil, err
			}
			phase.negative = append(phase.negative, index)
		}
		steps[step] = slices.IndexFunc(p.plan.phases, phase.equal)
		if steps[step] < 0 {
			steps[step] = len(p.plan.phases)
			p.plan.phases = append(p.plan.phases, phase)
		}
	}
	if len(p.plan.phases) > 1 {
		p.plan.steps = steps
	}
	return p.plan, p.plan.check()
}

func (a planPhase) equal(b planPhase) bool {
	return slices.EqualFunc(a.positive, b.positive, slices.Equal) && slices.Equal(a.negative, b.negative)
}

func (m *Model) newPlanner(q *resolved, warn func(string)) (*planner, error) {
	p := &planner{m: m, q: q, plan: &promptPlan{style: q.style(), emphasis: q.Emphasis, chunks: 1}, warn: warn, known: map[string]int{}}
	for k, t := range m.tokenizers() {
		if t == nil {
			continue
		}
		vectors, err := m.vectorsOf(q.request.TextualInversions, k)
		if err != nil {
			return nil, err
		}
		if p.chunkers[k], err = prompt.NewChunker(t, vectors); err != nil {
			return nil, &RequestError{Field: "textual_inversions", Value: "a name", Allowed: "one that the tokenizer does not have yet", Err: err}
		}
	}
	return p, nil
}

func (m *Model) tokenizers() [2]*tokenizer.Tokenizer {
	return [2]*tokenizer.Tokenizer{m.Tokenizer, m.Tokenizer2}
}

func (m *Model) encoders() [2]*clip.Encoder { return [2]*clip.Encoder{m.TextEncoder, m.TextEncoder2} }

// parsed is one side of a prompt, as each encoder's text asks for it.
type parsed struct {
	place string // of the texts, distinguishes them from others that are equal
	texts
	prompts [2]prompt.Prompt
}

func (p *planner) parse(i int, t texts, steps int, parse func(prompt.Style, string, int) prompt.Prompt) parsed {
	of := parsed{place: fmt.Sprintf("%d %s", i, t.field[0]), texts: t}
	for k := range of.prompts {
		of.text[k] = p.q.cutTags(t.text[k])
		of.prompts[k] = parse(p.plan.style, of.text[k], steps)
	}
	return of
}

// partWeights are the weights of sub-prompts, which the prompts of a batch have in common.
func (m *Model) partWeights(q *resolved, positives []parsed) ([]float64, error) {
	var weights []float64
	for i, of := range positives {
		var own []float64
		for _, part := range of.prompts[0].Parts {
			own = append(own, part.Weight)
		}
		if i > 0 && !slices.Equal(weights, own) {
			return nil, bad("prompt", fmt.Sprintf("%q", of.text[0]), "with sub-prompts of the weights %v, as those of the batch's other prompts: AND has one set of weights for a batch", weights)
		}
		weights = own
	}
	if len(weights) > MaxParts {
		return nil, bad("prompt", fmt.Sprintf("%d sub-prompts", len(weights)), "at most %d joined by AND", MaxParts)
	}
	switch {
	case len(weights) == 1 && weights[0] == 1:
		return nil, nil
	case m.UNet.Config.TimeCondProjDim > 0:
		return nil, bad("prompt", "sub-prompts joined by AND, or one with a weight", "one of weight 1: the model embeds its guidance and has no negative side")
	case len(weights) > 1 && q.GuidanceRescale > 0:
		return nil, bad("guidance_rescale", q.GuidanceRescale, "0 with sub-prompts that AND joins")
	case q.PAGScale > 0:
		return nil, bad("pag_scale", q.PAGScale, "0 with sub-prompts that AND joins, or one with a weight: there is no perturbed side of several")
	}
	return weights, nil
}

// text is the index of a side's text for a step; steps count from 0.
func (p *planner) text(of parsed, part, step, skip int) (int, error) {
	if of.place == "" {
		return noText, nil
	}
	t := of.texts
	for k := range t.text {
		parts := of.prompts[k].Parts
		t.text[k] = parts[min(part, len(parts)-1)].At(step)
	}
	key := fmt.Sprintf("%s %d %q", of.place, part, t.text)
	if index, ok := p.known[key]; ok {
		return index, nil
	}
	one := plannedText{texts: t, skip: skip}
	for k, c := range p.chunkers {
		if c == nil {
			continue
		}
		which := k
		if p.m.TextEncoder == nil { // the pipelines pair the only tokenizer with the first prompt
			which = 0
		}
		if err := p.chunk(&one, c, k, t.text[which], t.field[which]); err != nil {
			return 0, err
		}
	}
	p.known[key] = len(p.plan.texts)
	p.plan.texts = append(p.plan.texts, one)
	return p.known[key], nil
}

// chunk reads a text as an encoder takes it.
func (p *planner) chunk(one *plannedText, c *prompt.Chunker, k int, text, field string) error {
	t, e := p.m.tokenizers()[k], p.m.encoders()[k]
	var chunks []prompt.Chunk
	var warnings []string
	var err error
	count := 0
	if p.plan.style == prompt.Compel {
		if one.compel[k], chunks, err = compelTextOf(c, text); err == nil {
			count = one.compel[k].count
		}
	} else {
		chunks, warnings, err = c.Chunks(p.plan.style, text)
		one.chunks[k], count = chunks, len(chunks)
	}
	if err != nil {
		return &RequestError{Field: field, Value: fmt.Sprintf("%q", text), Allowed: "UTF-8 text", Err: err}
	}
	p.plan.chunks = max(p.plan.chunks, count)
	for _, chunk := range chunks {
		for _, token := range chunk {
			if int(token.ID) >= e.Config.VocabSize {
				return bad(field, fmt.Sprintf("%q", text), "a text without %q, a special token that the text encoder does not know", t.Decode([]int32{token.ID}))
			}
		}
	}
	for _, w := range warnings {
		side := "prompt"
		if strings.HasPrefix(field, "negative") {
			side = "negative prompt"
		}
		if p.plan.style == prompt.Plain {
			w += "; another prompt style (-prompt-style, prompt_style) takes longer texts"
		}
		p.warn(fmt.Sprintf("the %s %s", side, w))
	}
	return nil
}

// check limits what a plan takes of the memory.
func (p *promptPlan) check() error {
	if n := len(p.texts) * p.chunks; n > maxChunks {
		return bad("prompt", fmt.Sprintf("%d texts of up to %d chunks", len(p.texts), p.chunks), "at most %d chunks in all", maxChunks)
	}
	return nil
}

// Limits of prompts.
const (
	MaxParts       = 16       // sub-prompts joined by AND
	MaxPromptBytes = 32 << 10 // of a text in a style with syntax or chunks
	maxChunks      = 4096     // of all texts of a run
)
