package sdxl

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// prompts are the texts of one side of guidance, one for each encoder, and the request's fields that they come from.
type prompts struct{ text, field [2]string }

// newPrompts gives prompts whose second text, if it is empty, is the first.
func newPrompts(first, second, field string) prompts {
	if second == "" {
		return prompts{[2]string{first, first}, [2]string{field, field}}
	}
	return prompts{[2]string{first, second}, [2]string{field, field + "_2"}}
}

// encode turns prompts into text states [T, C1+C2] and pooled text [P]. skip is clip_skip. Several prompts are one batch.
func (p *Pipeline) encode(ctx context.Context, texts []prompts, skip int, warn func(string)) (states, pooled [][]float32, err error) {
	encoders := []*textEncoder{p.encoder1, p.encoder2}
	states = make([][]float32, len(texts))
	for k, e := range encoders {
		if e == nil {
			continue
		}
		ids := make([][]int32, len(texts))
		for i, text := range texts {
			// Without a first encoder the pipelines pair the only tokenizer with the first prompt.
			which := k
			if p.encoder1 == nil {
				which = 0
			}
			bad := func(allowed string, err error) error {
				return &RequestError{Field: text.field[which], Value: fmt.Sprintf("%q", text.text[which]), Allowed: allowed, Err: err}
			}
			encoding, err := e.tokenizer.Encode(text.text[which])
			if err != nil {
				return nil, nil, bad("UTF-8 text", err)
			}
			if id := slices.Max(encoding.IDs); int(id) >= e.Config.VocabSize {
				return nil, nil, bad(fmt.Sprintf("a text without %q, a special token that the text encoder does not know", e.tokenizer.Decode([]int32{id})), nil)
			}
			if encoding.Truncated != "" {
				warn(fmt.Sprintf("the prompt was cut after %d of %d tokens; left out: %q", e.tokenizer.MaxLength()-2, encoding.Tokens, encoding.Truncated))
			}
			ids[i] = encoding.IDs
		}
		hidden, pool, err := e.Encode(ctx, ids, skip)
		if err != nil {
			return nil, nil, err
		}
		if err := p.memory.done(ctx, e.Network); err != nil {
			return nil, nil, err
		}
		width := e.Config.HiddenSize
		for i := range texts {
			part := hidden[i*len(hidden)/len(texts) : (i+1)*len(hidden)/len(texts)]
			states[i] = beside(states[i], part, width)
			if e == p.encoder2 {
				pooled = append(pooled, pool[i*len(pool)/len(texts):(i+1)*len(pool)/len(texts)])
			}
		}
	}
	return states, pooled, nil
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

// condition prepares what the UNet is told: rows [negative…, positive…], or the positive alone without guidance.
func (p *Pipeline) condition(ctx context.Context, r *Request, guided bool, size Size, imageToImage bool, warn func(string)) (conditioning, error) {
	positive := newPrompts(r.Prompt, r.Prompt2, "prompt")
	without := ""
	zeros := guided && r.Negative == nil && p.forceZeros
	if r.Negative != nil {
		without = *r.Negative
	}
	negative := newPrompts(without, r.Negative2, "negative_prompt")
	texts := []prompts{positive}
	together := guided && !zeros && r.ClipSkip == 0 // clip_skip does not act on the negative prompt
	if together {
		texts = append(texts, negative)
	}
	states, pooled, err := p.encode(ctx, texts, r.ClipSkip, warn)
	if err != nil {
		return conditioning{}, err
	}
	switch {
	case zeros:
		states = append(states, make([]float32, len(states[0])))
		pooled = append(pooled, make([]float32, len(pooled[0])))
	case guided && !together:
		s, q, err := p.encode(ctx, []prompts{negative}, 0, warn)
		if err != nil {
			return conditioning{}, err
		}
		states, pooled = append(states, s...), append(pooled, q...)
	}
	ids, negativeIDs := p.sizes(r, size, imageToImage)
	var c conditioning
	n := r.Count
	if guided {
		c.text = slices.Repeat(states[1], n)
		c.pooled = slices.Repeat(pooled[1], n)
	}
	c.text = append(c.text, slices.Repeat(states[0], n)...)
	c.pooled = append(c.pooled, slices.Repeat(pooled[0], n)...)
	switch {
	case !guided:
		c.timeIDs = slices.Repeat(ids, n)
	case imageToImage:
		c.timeIDs = append(slices.Repeat(negativeIDs, n), slices.Repeat(ids, n)...)
	default:
		// The text-to-image pipeline repeats the pair, so that its rows alternate while the others do not.
		c.timeIDs = slices.Repeat(append(slices.Clone(negativeIDs), ids...), n)
	}
	if dim := int(p.unet.config.TimeCondProjDim); dim > 0 {
		c.guidance = slices.Repeat(guidanceEmbedding(r.Guidance, dim), n)
	}
	return c, nil
}

// sizes returns the time ids of the positive and the negative side; see Request for the fields.
func (p *Pipeline) sizes(r *Request, size Size, imageToImage bool) (ids, negative []float32) {
	or := func(s, other Size) Size {
		if s == (Size{}) {
			return other
		}
		return s
	}
	pair := func(a, b int) []float32 { return []float32{float32(a), float32(b)} }
	original, target := or(r.OriginalSize, size), or(r.TargetSize, size)
	crop := pair(r.CropTop, r.CropLeft)
	ids = append(pair(original.Height, original.Width), crop...)
	if p.timeIDs == 5 {
		negativeOriginal := or(r.NegativeOriginalSize, original)
		negative = append(pair(negativeOriginal.Height, negativeOriginal.Width), pair(r.NegativeCropTop, r.NegativeCropLeft)...)
		return append(ids, float32(r.AestheticScore)), append(negative, float32(r.NegativeAestheticScore))
	}
	ids = append(ids, pair(target.Height, target.Width)...)
	negativeOriginal, negativeTarget := r.NegativeOriginalSize, r.NegativeTargetSize
	negativeCrop := pair(r.NegativeCropTop, r.NegativeCropLeft)
	if imageToImage {
		// As upstream: each negative size stands alone, and the crop is the positive one.
		negativeOriginal, negativeTarget, negativeCrop = or(negativeOriginal, original), or(negativeTarget, target), crop
	} else if negativeOriginal == (Size{}) || negativeTarget == (Size{}) {
		return ids, slices.Clone(ids)
	}
	negative = append(pair(negativeOriginal.Height, negativeOriginal.Width), negativeCrop...)
	return ids, append(negative, pair(negativeTarget.Height, negativeTarget.Width)...)
}

// guidanceEmbedding tells models that were distilled with guidance its scale: sines, then cosines of (g−1)·1000·f.
// Source: diffusers pipeline_stable_diffusion_xl.py, get_guidance_scale_embedding.
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
