package sdxl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/tokenizer"
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
func (e *embeddings) zero() embeddings {
	return embeddings{[][]float32{make([]float32, len(e.hidden[0]))}, [][]float32{make([]float32, len(e.pooled[0]))}}
}

// tokenIDs is a text as an encoder takes it.
func tokenIDs(e *clip.Encoder, t *tokenizer.Tokenizer, text, field string, warn func(string)) ([]int32, error) {
	bad := func(allowed string, err error) error {
		return &RequestError{Field: field, Value: fmt.Sprintf("%q", text), Allowed: allowed, Err: err}
	}
	encoding, err := t.Encode(text)
	if err != nil {
		return nil, bad("UTF-8 text", err)
	}
	if id := slices.Max(encoding.IDs); int(id) >= e.Config.VocabSize {
		return nil, bad(fmt.Sprintf("a text without %q, a special token that the text encoder does not know", t.Decode([]int32{id})), nil)
	}
	if encoding.Truncated != "" {
		prompt := "prompt"
		if strings.HasPrefix(field, "negative") {
			prompt = "negative prompt"
		}
		warn(fmt.Sprintf("the %s was cut after %d of %d tokens; left out: %q", prompt, t.MaxLength()-2, encoding.Tokens, encoding.Truncated))
	}
	return encoding.IDs, nil
}

// encode turns texts into prompt embeddings. skip is clip_skip. Several texts are one batch.
func (m *Model) encode(ctx context.Context, list []texts, skip int, taps Taps, warn func(string)) (embeddings, error) {
	out := embeddings{hidden: make([][]float32, len(list))}
	for k, e := range []*clip.Encoder{m.TextEncoder, m.TextEncoder2} {
		if e == nil {
			continue
		}
		tokens := []*tokenizer.Tokenizer{m.Tokenizer, m.Tokenizer2}[k]
		which := k
		if m.TextEncoder == nil { // the pipelines pair the only tokenizer with the first prompt
			which = 0
		}
		ids := make([][]int32, len(list))
		for i, t := range list {
			var err error
			if ids[i], err = tokenIDs(e, tokens, t.text[which], t.field[which], warn); err != nil {
				return out, err
			}
		}
		hidden, pooled, err := e.Encode(ctx, ids, skip, [][]nn.Tap{taps.TextEncoder, taps.TextEncoder2}[k]...)
		if err != nil {
			return out, err
		}
		if err := m.host.memory.done(ctx, e.Network); err != nil {
			return out, err
		}
		for i := range list {
			part := hidden[i*len(hidden)/len(list) : (i+1)*len(hidden)/len(list)]
			out.hidden[i] = beside(out.hidden[i], part, e.Config.HiddenSize)
			if e == m.TextEncoder2 {
				out.pooled = append(out.pooled, pooled[i*len(pooled)/len(list):(i+1)*len(pooled)/len(list)])
			}
		}
	}
	return out, nil
}

// encodePrompts gives both sides of guidance, the negative one empty if it is not wanted.
func (m *Model) encodePrompts(ctx context.Context, prompts []Prompt, guided bool, skip int, taps Taps, warn func(string)) (pos, neg embeddings, err error) {
	var list, without []texts
	var zeros []bool // the negative side of each prompt
	for _, p := range prompts {
		list = append(list, positive(p))
		if !guided {
			continue
		}
		zero := m.spec.forceZeros && p.NegativePrompt == nil
		if zeros = append(zeros, zero); !zero {
			without = append(without, negative(p))
		}
	}
	if skip == 0 { // clip_skip does not act on the negative prompt
		list, without = append(list, without...), nil
	}
	all, err := m.encode(ctx, list, skip, taps, warn)
	if err == nil && len(without) > 0 {
		var more embeddings
		more, err = m.encode(ctx, without, 0, taps, warn)
		all.add(more)
	}
	if err != nil {
		return pos, neg, err
	}
	n := len(prompts)
	pos = embeddings{all.hidden[:n], all.pooled[:n]}
	for _, zero := range zeros {
		row := pos.zero()
		if !zero {
			row = embeddings{all.hidden[n : n+1], all.pooled[n : n+1]}
			n++
		}
		neg.add(row)
	}
	return pos, neg, nil
}

// EncodePrompt (encode_prompt) gives the prompt embeddings [N, T, C] and pooled embeddings [N, P] of N prompts, and
// those of their negative prompts. They may be mixed, and go into Request.Embeddings. clipSkip is as Request.ClipSkip.
// Warnings are of prompts that were cut.
func (m *Model) EncodePrompt(ctx context.Context, clipSkip int, prompts ...Prompt) (e *Embeddings, warnings []string, err error) {
	if len(prompts) == 0 {
		return nil, nil, bad("prompt", "no prompt", "at least one")
	}
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	spec, q := m.Spec(), &resolved{request: Request{Prompts: prompts}, Parameters: Parameters{ImagesPerPrompt: 1, ClipSkip: clipSkip}}
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
	pos, neg, err := m.encodePrompts(ctx, prompts, true, clipSkip, Taps{}, func(w string) { warnings = append(warnings, w) })
	if err != nil {
		return nil, nil, err
	}
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
