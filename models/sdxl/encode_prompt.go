package sdxl

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// texts are those of one side of guidance, one for each encoder, and the request's fields that they come from.
type texts struct{ text, field [2]string }

func positive(p Prompt) texts {
	if p.Prompt2 == "" {
		return texts{[2]string{p.Prompt, p.Prompt}, [2]string{"prompt", "prompt"}}
	}
	return texts{[2]string{p.Prompt, p.Prompt2}, [2]string{"prompt", "prompt_2"}}
}

func negative(p Prompt) texts {
	first := or(p.NegativePrompt, "")
	if p.NegativePrompt2 == nil || *p.NegativePrompt2 == "" {
		return texts{[2]string{first, first}, [2]string{"negative_prompt", "negative_prompt"}}
	}
	return texts{[2]string{first, *p.NegativePrompt2}, [2]string{"negative_prompt", "negative_prompt_2"}}
}

// embeddings are rows of prompt embeddings [T, C] and of pooled ones [P].
type embeddings struct{ hidden, pooled [][]float32 }

func (e *embeddings) add(more embeddings) {
	e.hidden, e.pooled = append(e.hidden, more.hidden...), append(e.pooled, more.pooled...)
}

// zero is a row of zeros, as long as those of e: the negative side of a prompt without one (zeros_like).
func (e embeddings) zero() embeddings {
	return embeddings{[][]float32{make([]float32, len(e.hidden[0]))}, [][]float32{make([]float32, len(e.pooled[0]))}}
}

// side is the rows of a part of the positive side.
func (f planPhase) side(all []embeddings, part int) (e embeddings) {
	for _, i := range f.positive[part] {
		e.add(all[i])
	}
	return e
}

// negativeSide is the rows of the negative side, none where there is no guidance.
func (f planPhase) negativeSide(all []embeddings) (e embeddings) {
	for _, i := range f.negative {
		if i == noText {
			e.add(all[f.positive[0][0]].zero())
		} else {
			e.add(all[i])
		}
	}
	return e
}

// tokenIDs is a plain text as an encoder takes it.
func tokenIDs(e *clip.Encoder, t *tokenizer.Tokenizer, text string) ([]int32, error) {
	encoding, err := t.Encode(text)
	if err != nil {
		return nil, err
	}
	if id := slices.Max(encoding.IDs); int(id) >= e.Config.VocabSize {
		return nil, fmt.Errorf("the text encoder does not know token %d of %q", id, text)
	}
	return encoding.IDs, nil
}

// encodedPlan is the embeddings of each text of a plan, by its index.
func (m *Model) encodePlan(ctx context.Context, p *promptPlan, list []TextualInversion, taps Taps) ([]embeddings, error) {
	out := make([]embeddings, len(p.texts))
	var skips []int // in order: clip_skip acts on the positive prompt alone
	for _, t := range p.texts {
		if !slices.Contains(skips, t.skip) {
			skips = append(skips, t.skip)
		}
	}
	for _, skip := range skips {
		var of []int
		for i, t := range p.texts {
			if t.skip == skip {
				of = append(of, i)
			}
		}
		for k, e := range m.encoders() {
			if e == nil {
				continue
			}
			if err := m.encodeTexts(ctx, p, of, skip, k, list, [][]nn.Tap{taps.TextEncoder, taps.TextEncoder2}[k], out); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// maxBatch bounds the chunks that an encoder takes at once: those of both sides of the largest batch of images.
const maxBatch = 2 * MaxCount

// encodeTexts adds what encoder k makes of some texts.
func (m *Model) encodeTexts(ctx context.Context, p *promptPlan, of []int, skip, k int, list []TextualInversion, taps []nn.Tap, out []embeddings) error {
	var chunks []prompt.Chunk
	padded, weighted := false, false
	for _, i := range of {
		own := p.texts[i].chunks[k]
		chunks = append(chunks, own...)
		padded = padded || len(own) < p.chunks
		weighted = weighted || slices.ContainsFunc(own, prompt.Chunk.Weighted)
	}
	needsEmpty := padded || weighted && p.style != prompt.A1111 || p.style == prompt.Compel
	if needsEmpty {
		c, err := prompt.NewChunker(m.tokenizers()[k], nil)
		if err != nil {
			return err
		}
		chunks = append(chunks, c.Empty())
	}
	hidden, pooled, err := m.encodeChunks(ctx, chunks, skip, k, list, taps)
	if err != nil {
		return err
	}
	var empty []float32
	if needsEmpty {
		empty = hidden[len(hidden)-1]
	}
	e, at := m.encoders()[k], 0
	for _, i := range of {
		var z, pool []float32
		if t := p.texts[i].compel[k]; t != nil {
			if z, pool, err = m.encodeCompel(ctx, t, skip, k, empty, list, taps); err != nil {
				return err
			}
		} else if pooled != nil {
			pool = pooled[at] // of the first chunk
		}
		for n, chunk := range p.texts[i].chunks[k] {
			weigh(p.style, p.emphasis, chunk, hidden[at+n], empty)
			z = append(z, hidden[at+n]...)
		}
		for len(z) < p.chunks*len(hidden[0]) {
			z = append(z, empty...)
		}
		if !finite(z) {
			return bad(p.texts[i].field[0], fmt.Sprintf("%q", p.texts[i].text[0]), "a text whose weights leave finite embeddings")
		}
		rows := embeddings{hidden: [][]float32{z}}
		if out[i].hidden != nil {
			rows.hidden[0] = beside(out[i].hidden[0], z, e.Config.HiddenSize)
		}
		if e == m.TextEncoder2 {
			rows.pooled = [][]float32{pool}
		}
		out[i] = rows
		at += len(p.texts[i].chunks[k])
	}
	return nil
}

func finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// sequences are chunks as encoder k takes them.
func sequences(chunks []prompt.Chunk, k int, list []TextualInversion) []clip.Sequence {
	batch := make([]clip.Sequence, len(chunks))
	for i, chunk := range chunks {
		batch[i].IDs = chunk.IDs()
		for at, token := range chunk {
			if token.Name == "" {
				continue
			}
			if batch[i].Vectors == nil {
				batch[i].Vectors = map[int][]float32{}
			}
			batch[i].Vectors[at] = vector(list, k, token.Name, token.Vector)
		}
	}
	return batch
}

// encodeChunks runs chunks through encoder k, each alone.
func (m *Model) encodeChunks(ctx context.Context, chunks []prompt.Chunk, skip, k int, list []TextualInversion, taps []nn.Tap) (hidden, pooled [][]float32, err error) {
	e := m.encoders()[k]
	for part := range slices.Chunk(chunks, maxBatch) {
		h, p, err := e.EncodeSequences(ctx, sequences(part, k, list), skip, taps...)
		if err != nil {
			return nil, nil, err
		}
		if err := m.host.memory.done(ctx, e.Network); err != nil {
			return nil, nil, err
		}
		hidden = slices.AppendSeq(hidden, slices.Chunk(h, len(h)/len(part)))
		if p != nil {
			pooled = slices.AppendSeq(pooled, slices.Chunk(p, len(p)/len(part)))
		}
	}
	return hidden, pooled, nil
}

// EncodePrompt (encode_prompt) gives the prompt embeddings [N, T, C] and pooled embeddings [N, P] of N prompts, and
// those of their negative prompts. They may be mixed, and go into Request.Embeddings. clipSkip is as Request.ClipSkip.
// Prompts are read as plain text. Warnings are of prompts that were cut.
func (m *Model) EncodePrompt(ctx context.Context, clipSkip int, prompts ...Prompt) (e *Embeddings, warnings []string, err error) {
	if len(prompts) == 0 {
		return nil, nil, bad("prompt", "no prompt", "at least one")
	}
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	spec, q := m.Spec(), &resolved{request: Request{Prompts: prompts}, schedule: &scheduler.Schedule{}, Parameters: Parameters{ImagesPerPrompt: 1, ClipSkip: clipSkip}}
	if err := errors.Join(spec.resolvePrompts(q), spec.checkClipSkip(q)); err != nil {
		return nil, nil, err
	}
	slot, err := m.host.acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer slot.release()
	encoders := m.adaptable()
	delete(encoders, "unet")
	if err := m.adapt(ctx, nil, encoders); err != nil {
		return nil, nil, err
	}
	plan, err := m.plan(q, true, func(w string) { warnings = append(warnings, w) })
	if err != nil {
		return nil, nil, err
	}
	all, err := m.encodePlan(ctx, plan, nil, Taps{})
	if err != nil {
		return nil, nil, err
	}
	pos, neg := plan.phases[0].side(all, 0), plan.phases[0].negativeSide(all)
	tokens := m.Tokenizer2.MaxLength()
	rows := func(list [][]float32, shape ...int) *Tensor {
		return &Tensor{Shape: append([]int{len(list)}, append(shape, len(list[0])/kernels.Elements(shape))...), Data: slices.Concat(list...)}
	}
	return &Embeddings{rows(pos.hidden, tokens), rows(pos.pooled), rows(neg.hidden, tokens), rows(neg.pooled)}, warnings, nil
}

// beside joins the rows of a and b; b's have the given width.
func beside(a, b []float32, width int) []float32 {
	if a == nil {
		return b
	}
	rows := len(b) / width
	wa := len(a) / rows
	joined := make([]float32, 0, len(a)+len(b))
	for i := range rows {
		joined = append(joined, a[i*wa:(i+1)*wa]...)
		joined = append(joined, b[i*width:(i+1)*width]...)
	}
	return joined
}
