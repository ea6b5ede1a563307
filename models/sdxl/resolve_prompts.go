package sdxl

import (
	"fmt"
	"slices"

	"github.com/goxl/goxl/tokenizer/prompt"
)

// style is how prompts are read.
func (q *resolved) style() prompt.Style {
	if q.PromptStyle == "" {
		return prompt.Plain
	}
	return q.PromptStyle
}

// resolveStyle checks how prompts are read, and how long they are.
func resolveStyle(q *resolved) error {
	r := &q.request
	if r.PromptStyle != "" && !r.PromptStyle.Valid() {
		return bad("prompt_style", fmt.Sprintf("%q", string(r.PromptStyle)), "one of %v", prompt.Styles())
	}
	if q.PromptStyle = r.PromptStyle; q.PromptStyle == prompt.Plain {
		q.PromptStyle = ""
	}
	if r.Emphasis != "" && !slices.Contains(Emphases(), r.Emphasis) {
		return bad("emphasis", fmt.Sprintf("%q", string(r.Emphasis)), "one of %v", Emphases())
	}
	if r.Emphasis != "" && q.PromptStyle != prompt.A1111 {
		return bad("emphasis", fmt.Sprintf("%q", string(r.Emphasis)), "absent unless prompt_style is %s", prompt.A1111)
	}
	if q.Emphasis = r.Emphasis; q.Emphasis == EmphasisOriginal {
		q.Emphasis = ""
	}
	if q.PromptStyle == "" {
		return nil
	}
	for _, p := range q.Prompts {
		for _, f := range []field[string]{{"prompt", p.Prompt}, {"prompt_2", p.Prompt2}, {"negative_prompt", or(p.NegativePrompt, "")}, {"negative_prompt_2", or(p.NegativePrompt2, "")}} {
			if len(f.value) > MaxPromptBytes {
				return bad(f.name, fmt.Sprintf("%d bytes", len(f.value)), "at most %d bytes in prompt_style %s", MaxPromptBytes, q.PromptStyle)
			}
		}
	}
	return nil
}

// totalSteps is the evaluations that the schedules of prompts count by, as A1111 does: of all steps, those before
// denoising_start and after denoising_end too, but as if strength were 1.
func (q *resolved) totalSteps() int { return q.Steps * q.order() }
