package prompt

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// compelNode is a fragment of text (f), attention (a), a swap's original (s), or a network (l).
type compelNode struct {
	kind     byte
	text     string
	weight   float64
	children []compelNode
}

// compelParser is compel's grammar, build_parser_syntax, which pyparsing reads: alternatives in order, white space
// skipped before each piece. Results are kept by rule and position, so that nothing is read twice.
type compelParser struct {
	text  string
	depth int
	memo  map[compelRule]compelMatch
}

type compelRule struct {
	name byte
	at   int
}

type compelMatch struct {
	nodes []compelNode
	end   int
	ok    bool
}

// maxCompelDepth bounds brackets within brackets; deeper ones are text.
const maxCompelDepth = 64

func newCompelParser(text string) *compelParser {
	return &compelParser{text: text, memo: map[compelRule]compelMatch{}}
}

// once runs a rule at a position, or takes what it gave before.
func (p *compelParser) once(name byte, at int, rule func(int) ([]compelNode, int, bool)) ([]compelNode, int, bool) {
	key := compelRule{name, at}
	if m, ok := p.memo[key]; ok {
		return m.nodes, m.end, m.ok
	}
	if p.depth >= maxCompelDepth {
		return nil, 0, false
	}
	p.depth++
	nodes, end, ok := rule(at)
	p.depth--
	p.memo[key] = compelMatch{nodes, end, ok}
	return nodes, end, ok
}

const (
	compelSpace  = " \n\t\r"
	pythonWhite  = " \t\n\r\x0b\x0c"
	compelSyntax = `()",.+-=`
)

func (p *compelParser) skip(i int) int {
	return len(p.text) - len(strings.TrimLeft(p.text[i:], compelSpace))
}

func (p *compelParser) atEnd(i int) bool { return p.skip(i) == len(p.text) }

// literal matches text after white space.
func (p *compelParser) literal(i int, want string) (int, bool) {
	i = p.skip(i)
	return i + len(want), strings.HasPrefix(p.text[i:], want)
}

// word is non_syntax_word.
func (p *compelParser) word(i int) ([]compelNode, int, bool) {
	from := p.skip(i)
	at := from
	for at < len(p.text) {
		rest := p.text[at:]
		c := rest[0]
		if c == '\\' && len(rest) > 1 && strings.IndexByte(compelSyntax, rest[1]) >= 0 {
			at += 2
			continue
		}
		if c == '+' || c == '-' {
			if len(rest) == 1 || strings.IndexByte(pythonWhite+compelSyntax, rest[1]) >= 0 {
				break
			}
			at++
			continue
		}
		if strings.IndexByte(pythonWhite+compelSyntax, c) >= 0 {
			break
		}
		_, n := utf8.DecodeRuneInString(rest)
		at += n
	}
	return []compelNode{{kind: 'f', text: unescapeCompel(p.text[from:at])}}, at, at > from
}

var (
	compelQuoted = regexp.MustCompile(`^"(?:\\"|[^"\n\r])*"`)
	compelReal   = regexp.MustCompile(`^(?:[+-]?(?:[0-9]+\.[0-9]*|\.[0-9]+)|-?[0-9]+)`)
	compelKey    = regexp.MustCompile(`^[A-Za-z0-9_-]+`)
)

// quoted is quoted_fragment, or quoted_prompt where whole is set.
func (p *compelParser) quoted(i int, whole bool) ([]compelNode, int, bool) {
	i = p.skip(i)
	if !strings.HasPrefix(p.text[i:], `"`) { // an expression takes time for all of the text
		return nil, 0, false
	}
	found := compelQuoted.FindString(p.text[i:])
	if found == "" {
		return nil, 0, false
	}
	end := i + len(found)
	inner := strings.ReplaceAll(found[1:len(found)-1], `\"`, `"`)
	if trimSpace(inner) == "" {
		return []compelNode{{kind: 'f'}}, end, true
	}
	q := newCompelParser(strings.ReplaceAll(inner, `"`, `\"`))
	q.depth = p.depth
	read := q.fragments
	if whole {
		read = q.prompt
	}
	nodes, at := read(0)
	return nodes, end, q.atEnd(at)
}

// parenthesized is parenthesized_fragment.
func (p *compelParser) parenthesized(i int) ([]compelNode, int, bool) {
	return p.once('p', p.skip(i), func(i int) ([]compelNode, int, bool) {
		i, ok := p.literal(i, "(")
		if !ok {
			return nil, 0, false
		}
		nodes, i := p.fragments(i)
		i, ok = p.literal(i, ")")
		return nodes, i, ok
	})
}

// fragments is fragment_including_commas_or_periods.
func (p *compelParser) fragments(i int) (all []compelNode, end int) { return p.list(i, true) }

func (p *compelParser) list(i int, commas bool) (all []compelNode, end int) {
	for {
		nodes, next, ok := p.piece(i)
		if !ok && commas {
			for _, sign := range []string{",", "."} {
				if next, ok = p.literal(i, sign); ok {
					nodes = []compelNode{{kind: 'f', text: sign}}
					break
				}
			}
		}
		if !ok {
			return all, i
		}
		all, i = append(all, nodes...), next
	}
}

// piece is fragment_part_expressions.
func (p *compelParser) piece(i int) ([]compelNode, int, bool) {
	if nodes, end, ok := p.lora(i); ok {
		return nodes, end, true
	}
	if nodes, end, ok := p.attention(i); ok {
		return nodes, end, true
	}
	if nodes, end, ok := p.swap(i); ok {
		return nodes, end, true
	}
	if nodes, end, ok := p.parenthesized(i); ok {
		return nodes, end, true
	}
	if nodes, end, ok := p.quoted(i, false); ok {
		return nodes, end, true
	}
	return p.word(i)
}

// target is potential_operator_target.
func (p *compelParser) target(i int) ([]compelNode, int, bool) {
	if nodes, end, ok := p.quoted(i, false); ok {
		return nodes, end, true
	}
	if nodes, end, ok := p.parenthesized(i); ok {
		return nodes, end, true
	}
	return p.word(i)
}

// weight is attention_weight_operator: signs count, and so do numbers where they may.
func (p *compelParser) weight(i int, numbers bool) (w float64, end int, ok bool) {
	for sign, base := range map[byte]float64{'+': 1.1, '-': 0.9} {
		n := 0
		for i+n < len(p.text) && p.text[i+n] == sign {
			n++
		}
		if n > 0 {
			return math.Pow(base, float64(n)), i + n, true
		}
	}
	if !numbers {
		return 0, 0, false
	}
	return p.number(i)
}

func (p *compelParser) number(i int) (v float64, end int, ok bool) {
	rest := p.text[i:]
	found := compelReal.FindString(rest[:len(rest)-len(strings.TrimLeft(rest, "+-.0123456789"))])
	v, err := strconv.ParseFloat(found, 64)
	return v, i + len(found), err == nil
}

// attention is attention_explicit or attention_implicit.
func (p *compelParser) attention(i int) ([]compelNode, int, bool) {
	return p.once('a', p.skip(i), func(i int) ([]compelNode, int, bool) {
		if nodes, at, ok := p.target(i); ok {
			if at, ok = p.literal(at, ".attend"); ok {
				if at, ok = p.literal(at, "("); ok {
					if w, at, ok := p.weight(p.skip(at), true); ok {
						if at, ok := p.literal(at, ")"); ok {
							return []compelNode{{kind: 'a', weight: w, children: nodes}}, at, true
						}
					}
				}
			}
		}
		nodes, at, ok := p.quoted(i, false)
		if !ok {
			nodes, at, ok = p.parenthesized(i)
		}
		if ok {
			if w, end, ok := p.weight(at, true); ok {
				return []compelNode{{kind: 'a', weight: w, children: nodes}}, end, true
			}
		}
		if nodes, at, ok = p.word(i); ok {
			if w, end, ok := p.weight(at, false); ok {
				return []compelNode{{kind: 'a', weight: w, children: nodes}}, end, true
			}
		}
		return nil, 0, false
	})
}

// networkNodes are the networks in nodes.
func networkNodes(nodes []compelNode) (found []compelNode) {
	for _, n := range nodes {
		if n.kind == 'l' {
			found = append(found, n)
		}
		found = append(found, networkNodes(n.children)...)
	}
	return found
}

// swap is cross_attention_substitute, whose replacement, but for its networks, and options are dropped.
func (p *compelParser) swap(i int) ([]compelNode, int, bool) {
	return p.once('s', p.skip(i), func(i int) ([]compelNode, int, bool) {
		nodes, at, ok := p.target(i)
		if !ok {
			return nil, 0, false
		}
		if at, ok = p.literal(at, ".swap"); !ok {
			return nil, 0, false
		}
		if at, ok = p.literal(at, "("); !ok {
			return nil, 0, false
		}
		edited, at := p.list(at, false)
		nodes = append(slices.Clone(nodes), networkNodes(edited)...)
		if next, ok := p.literal(at, ","); ok {
			if _, at, ok = p.options(next); !ok {
				return nil, 0, false
			}
		}
		at, ok = p.literal(at, ")")
		return []compelNode{{kind: 's', children: nodes}}, at, ok
	})
}

// prompt is a whole prompt: what is no syntax is words up to white space.
func (p *compelParser) prompt(i int) (all []compelNode, end int) {
	for i < len(p.text) {
		nodes, next, ok := p.swap(i)
		if !ok {
			nodes, next, ok = p.lora(i)
		}
		if !ok {
			nodes, next, ok = p.attention(i)
		}
		if !ok {
			nodes, next, ok = p.quoted(i, false)
		}
		if !ok {
			nodes, next, ok = p.parenthesized(i)
		}
		if !ok {
			n := strings.IndexAny(p.text[i:], pythonWhite)
			if n < 0 {
				n = len(p.text) - i
			}
			if n == 0 {
				nodes = nil
				if next = p.skip(i); next == i {
					return all, i
				}
			} else {
				next = i + n
				nodes = []compelNode{{kind: 'f', text: unescapeCompel(p.text[i:next])}}
			}
		}
		all, i = append(all, nodes...), next
	}
	return all, i
}
