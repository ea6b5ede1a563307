package sdxl

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/nn/weights/embedding"
)

// TextualInversion is an embedding that a prompt names: vectors that take the place of tokens' rows in the text
// encoders' embedding tables. nn/weights/embedding reads files of them. The pooled vector is that of the end of the text,
// as in A1111 and ComfyUI; diffusers gives the embeddings ids beyond the end's, and transformers' rule for the
// published encoders, the largest id, then pools an embedding's state.
type TextualInversion struct {
	Name string
	L    *Tensor // [n, hidden size] of text_encoder; nil in a refiner, which has none
	G    *Tensor // [n, hidden size] of text_encoder_2
}

// NewTextualInversion is an embedding as a file has it.
func NewTextualInversion(e *embedding.Embedding) TextualInversion {
	return TextualInversion{Name: e.Name, L: vectorsTensor(e.L), G: vectorsTensor(e.G)}
}

// vectorsTensor is the vectors for an encoder, nil if there are none.
func vectorsTensor(v embedding.Vectors) *Tensor {
	if v.N == 0 {
		return nil
	}
	return &Tensor{Shape: []int{v.N, v.Width}, Data: v.Data}
}

// of is the vectors for encoder k.
func (t TextualInversion) of(k int) *Tensor { return [2]*Tensor{t.L, t.G}[k] }

// maxVectors is the vectors of one textual inversion: those of a chunk.
const maxVectors = 75

// checkTextualInversions checks names, shapes and values.
func (s *Spec) checkTextualInversions(q *resolved) error {
	const field = "textual_inversions"
	configs := [2]*clip.Config{s.TextEncoder, &s.TextEncoder2}
	var names []string
	for _, t := range q.request.TextualInversions {
		switch {
		case t.Name == "":
			return bad(field, "one without a name", "named")
		case slices.Contains(names, t.Name):
			return bad(field, fmt.Sprintf("two named %q", t.Name), "of different names")
		}
		names = append(names, t.Name)
		for k, c := range configs {
			if c == nil {
				continue
			}
			encoder := [2]string{"text_encoder (clip_l)", "text_encoder_2 (clip_g)"}[k]
			x := t.of(k)
			if x == nil {
				allowed := "with some for every text encoder of the model"
				if t.of(1-k) != nil { // half of a pair of files, or Stable Diffusion 1.5's, whose vectors are as wide as clip_l's
					allowed += "; another file of the same name may have the missing ones, but one of Stable Diffusion 1.5 has none"
				}
				return bad(field, fmt.Sprintf("%q without vectors for %s", t.Name, encoder), "%s", allowed)
			}
			if err := x.Check(field, 0, c.HiddenSize); err != nil || x.Shape[0] > maxVectors {
				return &RequestError{Field: field, Value: fmt.Sprintf("%q with %v for %s", t.Name, shapeOf(x), encoder), Allowed: fmt.Sprintf("1 to %d vectors of %d numbers", maxVectors, c.HiddenSize), Err: err}
			}
			if err := checkFinite(field, x); err != nil {
				return err
			}
		}
	}
	q.TextualInversions = names
	return nil
}

// uneven warns of embeddings with other numbers of vectors for the two encoders. All have passed checkTextualInversions.
func (s *Spec) uneven(list []TextualInversion) (warnings []string) {
	for _, t := range list {
		if s.TextEncoder != nil && t.L.Shape[0] != t.G.Shape[0] {
			warnings = append(warnings, fmt.Sprintf("the embedding %q has %d vectors for text_encoder (clip_l) and %d for text_encoder_2 (clip_g): each encoder reads its own, as in diffusers and ComfyUI; A1111 goes by clip_g's number", t.Name, t.L.Shape[0], t.G.Shape[0]))
		}
	}
	return warnings
}

// vectorsOf counts the vectors for encoder k, by name.
func (m *Model) vectorsOf(list []TextualInversion, k int) (map[string]int, error) {
	counts := map[string]int{}
	for _, t := range list {
		x := t.of(k)
		if x == nil {
			return nil, bad("textual_inversions", fmt.Sprintf("%q", t.Name), "with vectors for every text encoder of the model")
		}
		counts[t.Name] = x.Shape[0]
	}
	return counts, nil
}

// vector is one of a textual inversion's vectors for encoder k.
func vector(list []TextualInversion, k int, name string, i int) []float32 {
	for _, t := range list {
		if x := t.of(k); t.Name == name && x != nil {
			width := x.Shape[1]
			return x.Data[i*width : (i+1)*width]
		}
	}
	return nil
}
