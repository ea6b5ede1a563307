package sdxl

import (
	"context"
	"math"

	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// compelText is a text of compel's for one encoder.
type compelText struct {
	parts []compelPart
	raw   prompt.Chunk // of the text with its syntax, which is what compel pools
	count int          // chunks of all parts, one after the other
}

// compelPart is a prompt or a blend of prompts, padded to as many chunks as the longest of them has.
type compelPart struct {
	weight float64
	blend  []float64 // nil for one prompt
	of     []prompt.CompelChunks
	count  int
}

// compelTextOf reads a text for an encoder.
func compelTextOf(c *prompt.Chunker, text string) (*compelText, []prompt.Chunk, error) {
	t := &compelText{}
	raw, _, err := c.Chunks(prompt.Plain, text)
	if err != nil {
		return nil, nil, err
	}
	t.raw = raw[0]
	all := raw
	for _, part := range prompt.ParseCompel(text).Parts {
		p := compelPart{weight: part.Weight, blend: part.Blend}
		for _, fragments := range part.Prompts {
			one, err := c.Compel(fragments)
			if err != nil {
				return nil, nil, err
			}
			p.of, p.count = append(p.of, one), max(p.count, len(one.Chunks))
			all = append(all, one.Chunks...)
		}
		t.parts, t.count = append(t.parts, p), t.count+p.count
	}
	return t, all, nil
}

// encodeCompel gives the hidden states of a text [chunks·T, C] and what is pooled.
func (m *Model) encodeCompel(ctx context.Context, t *compelText, skip, k int, empty []float32, list []TextualInversion, taps []nn.Tap) (z, pooled []float32, err error) {
	chunks := []prompt.Chunk{t.raw}
	for _, part := range t.parts {
		for _, one := range part.of {
			chunks = append(chunks, one.Chunks...)
		}
	}
	hidden, pools, err := m.encodeChunks(ctx, chunks, skip, k, list, taps)
	if err != nil {
		return nil, nil, err
	}
	if pools != nil {
		pooled = pools[0]
	}
	next := hidden[1:]
	for _, part := range t.parts {
		sum := make([]float32, part.count*len(empty))
		for i, one := range part.of {
			base := next[:len(one.Chunks)]
			next = next[len(one.Chunks):]
			y, err := m.compelPrompt(ctx, one, base, skip, k, empty, list)
			if err != nil {
				return nil, nil, err
			}
			for len(y) < len(sum) {
				y = append(y, empty...)
			}
			w := float32(1)
			if part.blend != nil {
				w = float32(part.blend[i])
			}
			for j, v := range y {
				sum[j] += v * w
			}
		}
		if w := float32(part.weight); w != 1 {
			for j, v := range sum {
				e := empty[j%len(empty)]
				sum[j] = e + (v-e)*w
			}
		}
		z = append(z, sum...)
	}
	return z, pooled, nil
}

// compelPrompt applies weights to a prompt's chunks, and blends them with the prompts without each of the fragments
// whose weight is below 1.
func (m *Model) compelPrompt(ctx context.Context, one prompt.CompelChunks, base [][]float32, skip, k int, empty []float32, list []TextualInversion) ([]float32, error) {
	join := func(rows [][]float32) (z []float32) {
		for i, row := range rows {
			weigh(prompt.Compel, "", one.Chunks[i], row, empty)
			z = append(z, row...)
		}
		return z
	}
	z := join(base)
	if len(one.Without) == 0 {
		return z, nil
	}
	blended, weights := [][]float32{z}, []float64{1}
	e := m.encoders()[k]
	for _, without := range one.Without {
		h, err := e.EncodeMasked(ctx, sequences(one.Chunks, k, list), without.Masked, skip)
		if err != nil {
			return nil, err
		}
		if err := m.host.memory.done(ctx, e.Network); err != nil {
			return nil, err
		}
		var rows [][]float32
		for i := range one.Chunks {
			rows = append(rows, h[i*len(empty):(i+1)*len(empty)])
		}
		const least = 1e-5 // of a weight, for which all but the prompt without it counts
		blended = append(blended, join(rows))
		weights = append(weights, math.Tan((1-max(least, without.Weight))*math.Pi/2))
	}
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	out := make([]float32, len(z))
	for i, x := range blended {
		w := float32(float32(weights[i]) / float32(sum))
		for j, v := range x {
			out[j] += v * w
		}
	}
	return out, nil
}
