package sdxl

import (
	"github.com/goxl/goxl/tokenizer/prompt"
)

// Emphasis is how A1111's weights act on what a text encoder gives.
type Emphasis string

// The kinds of emphasis. The first is A1111's own, the second is its "No norm", "better for SDXL" by its own words.
const (
	EmphasisOriginal Emphasis = "original" // z·w, then all of a chunk times what keeps the mean
	EmphasisNoNorm   Emphasis = "nonorm"   // z·w
)

// Emphases lists them, the default first.
func Emphases() []Emphasis { return []Emphasis{EmphasisOriginal, EmphasisNoNorm} }

// weigh applies the weights of a chunk's tokens to its hidden states z [T, C]; empty is those of an empty prompt.
func weigh(style prompt.Style, emphasis Emphasis, chunk prompt.Chunk, z, empty []float32) {
	if !chunk.Weighted() {
		return
	}
	width := len(z) / len(chunk)
	before := mean(z)
	for t, token := range chunk {
		w := float32(token.Weight)
		if w == 1 {
			continue
		}
		row := z[t*width : (t+1)*width]
		for i, v := range row {
			if style == prompt.A1111 {
				row[i] = v * w
			} else {
				e := empty[t*width+i]
				row[i] = (v-e)*w + e
			}
		}
	}
	if style != prompt.A1111 || emphasis == EmphasisNoNorm {
		return
	}
	scale := float32(before / mean(z))
	for i := range z {
		z[i] *= scale
	}
}

func mean(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v)
	}
	return sum / float64(len(x))
}
