// Package prompt reads prompts as people write them for diffusers, A1111, ComfyUI and compel: weights, schedules,
// sub-prompts, breaks and embeddings become tokens with weights, in chunks as long as a text encoder takes.
//
// [Parse] takes a text apart into what is sampled with: sub-prompts joined by AND, whose text may change from step to
// step. A [Chunker] turns one of those texts into the chunks of one text encoder. Both are text alone: no weight is
// loaded and nothing is computed. A text is never wrong: what is no syntax is text, and brackets that are not closed
// count to the end, as in the tools themselves.
//
// Sources, in the versions that tools/reference/prompts.py names: A1111's modules/prompt_parser.py,
// modules/extra_networks.py and Forge's backend/text_processing, ComfyUI's comfy/sd1_clip.py, compel 2.5.1, and
// diffusers' loaders/textual_inversion.py.
package prompt

import (
	"slices"
	"strings"
)

// Style is how a prompt is read.
type Style string

// The styles.
const (
	Plain  Style = "plain"  // diffusers: no syntax, cut at the encoder's length
	Long   Style = "long"   // no syntax, in as many chunks as it takes
	A1111  Style = "a1111"  // (a:1.2), [a], BREAK, AND, [a:b:0.5], [a|b], <lora:NAME:1>
	Comfy  Style = "comfy"  // (a:1.2), embedding:NAME
	Compel Style = "compel" // a++, (a b)1.2, ("a", "b").and(1, 0.5), ("a", "b").blend(1, 0.5)
)

// Styles lists them, the default first.
func Styles() []Style { return []Style{Plain, Long, A1111, Comfy, Compel} }

// Valid reports whether s is one of Styles.
func (s Style) Valid() bool { return slices.Contains(Styles(), s) }

// HasTags reports whether <lora:NAME:0.8> is syntax of the style; in the others it is text.
func (s Style) HasTags() bool { return s == Long || s == A1111 }

// NetworksOf lists what a text of the style names, as [Parse] does, without reading the rest of it.
func NetworksOf(s Style, text string) (found []Network) {
	switch {
	case s.HasTags():
		_, found = Networks(text)
	case s == Compel:
		found = ParseCompel(text).Networks
	}
	return found
}

// Prompt is what a text asks for.
type Prompt struct {
	Parts    []Part    // sub-prompts, in order; at least one, and one alone in every style but A1111
	Networks []Network // what A1111 calls extra networks, taken out of the text, in order
}

// Part is a sub-prompt.
type Part struct {
	Weight   float64     // of its difference from the negative prompt
	Schedule []Scheduled // ascending by Until; at least one
}

// Scheduled is a text that holds up to a step.
type Scheduled struct {
	Until int // the last step, as At counts, at which it holds
	Text  string
}

// At is the text of a step. Steps count from 0, so that [a:b:3] has a for steps 0 to 3: A1111's sampler compares its
// steps with the schedule so.
func (p Part) At(step int) string {
	for _, s := range p.Schedule {
		if step <= s.Until {
			return s.Text
		}
	}
	return p.Schedule[0].Text
}

// Network is <Kind:Args[0]:Args[1]…>, for instance <lora:NAME:0.8>.
type Network struct {
	Kind string
	Args []string
}

// Parse reads a text for a run of so many steps. Networks are <lora:NAME:1> in the styles A1111 and Long, and
// withLora(NAME, 1) in Compel; in others they are text.
func Parse(s Style, text string, steps int) Prompt {
	if s != A1111 {
		var p Prompt
		if s == Long {
			text, p.Networks = Networks(text)
		} else {
			p.Networks = NetworksOf(s, text) // Compel's chunks leave them out
		}
		p.Parts = always(text)
		return p
	}
	text, found := Networks(text)
	p := Prompt{Networks: found}
	for _, sub := range splitAnd(text) {
		p.Parts = append(p.Parts, Part{sub.weight, schedule(sub.text, steps)})
	}
	return p
}

// ParseNegative is Parse for a negative prompt, which has no sub-prompts: A1111 reads AND there as text.
func ParseNegative(s Style, text string, steps int) Prompt {
	if s != A1111 {
		return Parse(s, text, steps)
	}
	text, found := Networks(text)
	return Prompt{Parts: []Part{{1, schedule(text, steps)}}, Networks: found}
}

// always is a text that holds for every step.
func always(text string) []Part { return []Part{{1, []Scheduled{{0, text}}}} }

// Fragment is a piece of text whose tokens have one weight.
type Fragment struct {
	Text   string
	Weight float64
}

// isSpace reports whether Python's str.isspace and \s hold for a character.
func isSpace(r rune) bool {
	switch {
	case '\t' <= r && r <= '\r', 0x1c <= r && r <= ' ', r == 0x85, r == 0xa0, r == 0x1680, 0x2000 <= r && r <= 0x200a:
		return true
	}
	return r == 0x2028 || r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000
}

// trimSpace is Python's str.strip.
func trimSpace(s string) string { return strings.TrimFunc(s, isSpace) }
