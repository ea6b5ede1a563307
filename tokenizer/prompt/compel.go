package prompt

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Conjunction is a prompt of compel: parts whose embeddings follow each other, .and(), mostly one.
type Conjunction struct {
	Parts    []CompelPart
	Networks []Network // withLora(NAME, WEIGHT)
}

// CompelPart is a prompt, or several whose embeddings are added, .blend().
type CompelPart struct {
	Weight  float64      // of the difference from an empty prompt
	Prompts [][]Fragment // one, or those of a blend
	Blend   []float64    // a weight for each prompt; nil for one prompt
}

// ParseCompel reads a text as PromptParser.parse_conjunction. What compel refuses is one fragment of text here. The
// edited side of .swap() is left out: without control of the cross-attention, which SDXL's pipelines do not do in compel
// either, the original side alone counts.
func ParseCompel(text string) Conjunction {
	if c, ok := parseConjunction(afterComma.ReplaceAllString(text, ", $1")); ok && len(c.Parts) > 0 {
		return c
	}
	if trimSpace(text) == "" {
		text = ""
	}
	return Conjunction{Parts: []CompelPart{{Weight: 1, Prompts: [][]Fragment{{{text, 1}}}}}}
}

var afterComma = regexp.MustCompile(`,([^\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}])`)

func parseConjunction(text string) (c Conjunction, ok bool) {
	if trimSpace(text) == "" {
		return c, false
	}
	p := newCompelParser(text)
	if prompts, weights, _, ok := p.operator(0, ".and", ".add"); ok {
		if len(weights) == 0 {
			weights = ones(len(prompts))
		}
		if len(weights) != len(prompts) {
			return c, false
		}
		for i, nodes := range prompts {
			if fragments := c.flatten(nodes); len(fragments) > 0 {
				c.Parts = append(c.Parts, CompelPart{Weight: weights[i], Prompts: [][]Fragment{fragments}})
			}
		}
		return c, true
	}
	i := 0
	for { // networks may come before
		nodes, end, ok := p.lora(i)
		if !ok {
			break
		}
		c.flatten(nodes)
		i = end
	}
	prompts, weights, end, ok := p.operator(i, ".blend")
	if !ok {
		nodes, end := p.prompt(i)
		if fragments := c.flatten(nodes); len(fragments) > 0 {
			c.Parts = []CompelPart{{Weight: 1, Prompts: [][]Fragment{fragments}}}
		}
		return c, p.atEnd(end)
	}
	normalize := true
	if n := len(weights); n > 0 && math.IsNaN(weights[n-1]) { // no_normalize
		normalize, weights = false, weights[:n-1]
	}
	if len(weights) == 0 {
		weights = ones(len(prompts))
	}
	part := CompelPart{Weight: 1, Blend: weights}
	sum := 0.0
	for i, nodes := range prompts {
		if fragments := c.flatten(nodes); len(fragments) > 0 {
			part.Prompts = append(part.Prompts, fragments)
		}
		if i < len(weights) {
			sum += weights[i]
		}
	}
	if normalize {
		part.Blend = nil
		for _, w := range weights {
			part.Blend = append(part.Blend, w/sum)
		}
	}
	c.Parts = []CompelPart{part}
	for {
		nodes, next, ok := p.lora(end)
		if !ok {
			break
		}
		c.flatten(nodes)
		end = next
	}
	return c, len(part.Prompts) == len(weights) && (sum != 0 || !normalize) && p.atEnd(end)
}

func ones(n int) []float64 {
	list := make([]float64, n)
	for i := range list {
		list[i] = 1
	}
	return list
}

// flatten turns nodes into fragments, and joins neighbours of one weight with a space.
func (c *Conjunction) flatten(nodes []compelNode) []Fragment {
	var all []fused
	c.append(&all, nodes, 1)
	var out []Fragment
	for i, f := range all {
		if last := len(out) - 1; i > 0 && f.group == all[i-1].group && out[last].Weight == f.Weight {
			out[last].Text = unescapeCompel(out[last].Text + " " + f.Text)
			continue
		}
		out = append(out, f.Fragment)
	}
	return out
}

// fused is a fragment that may be joined with its neighbours of the same group: those outside of swaps, or in one.
type fused struct {
	Fragment
	group int
}

func (c *Conjunction) append(all *[]fused, nodes []compelNode, scale float64) {
	for _, n := range nodes {
		switch n.kind {
		case 'f':
			*all = append(*all, fused{Fragment{unescapeCompel(n.text), scale}, 0})
		case 'a':
			c.append(all, n.children, scale*n.weight)
		case 's':
			from := len(*all)
			if c.append(all, n.children, scale); len(*all) == from {
				*all = append(*all, fused{Fragment{"", scale}, 0})
			}
			for i := from; i < len(*all); i++ {
				(*all)[i].group = from + 1
			}
		case 'l':
			c.Networks = append(c.Networks, Network{"lora", []string{n.text, strconv.FormatFloat(n.weight, 'g', -1, 64)}})
		}
	}
}

var compelEscapes = strings.NewReplacer(`\(`, "(", `\)`, ")", `\"`, `"`)

// unescapeCompel is what a Fragment does to its text: compel makes one when it parses, one when it flattens, and one when
// it joins, for each neighbour anew: mostly there is nothing to do.
func unescapeCompel(text string) string {
	if strings.IndexByte(text, '\\') < 0 {
		return text
	}
	return compelEscapes.Replace(text)
}
