package prompt

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// sub is a sub-prompt of AND.
type sub struct {
	text   string
	weight float64
}

// subWeight finds the weight at the end of a sub-prompt; the class is Python's \s.
var subWeight = func() *regexp.Regexp {

	return regexp.MustCompile(`^((?s:.)*?)(?:` + pythonSpace + `:` + pythonSpace + `([-+]?(?:[0-9]+\.?|[0-9]*\.[0-9]+)))?` + pythonSpace + `$`)
}()

// splitAnd is get_multicond_prompt_list.
func splitAnd(text string) (subs []sub) {
	for _, part := range splitWord(text, "AND") {
		one := sub{part, 1}
		if m := subWeight.FindStringSubmatch(part); m != nil {
			one.text = m[1]
			if w, err := strconv.ParseFloat(m[2], 64); err == nil {
				one.weight = w
			}
		}
		subs = append(subs, one)
	}
	return subs
}

// schedule is get_learned_conditioning_prompt_schedules: the texts of a run of so many steps. Its grammar is
//
//	start:      (prompt | one of []():)*
//	prompt:     (emphasised | scheduled | alternate | plain)*
//	emphasised: "(" prompt [":" prompt] ")" | "[" prompt "]"
//	scheduled:  "[" [prompt ":"] prompt ":" number "]"
//	alternate:  "[" prompt ("|" prompt)+ "]"
//	plain:      any but []():|\ or an escaped character
//
// and a text that it does not cover, since it has a | elsewhere, has no schedule at all.
func schedule(text string, steps int) []Scheduled {
	t := readTree(text)
	if !t.start() {
		return []Scheduled{{steps, text}}
	}
	nodes := []span{{0, len(text)}}
	until := []int{steps}
	t.collect(nodes, steps, &until)
	slices.Sort(until)
	var all []Scheduled
	for _, step := range slices.Compact(until) {
		var out strings.Builder
		t.write(&out, nodes, step, steps)
		all = append(all, Scheduled{step, out.String()})
	}
	return all
}

// span is a part of the text, from the first byte up to the last.
type span struct{ from, to int }

// construct is a bracket that was closed, of the grammar above.
type construct struct {
	end   int    // after its last bracket
	parts []span // prompts
	kind  byte   // 'e', 's' or 'a' for the three kinds
	when  string // of a scheduled one
}

// tree has, for each byte of a text, what can begin there. It is filled from the end on, so that a text of any depth is
// read once.
type tree struct {
	text string
	at   []*construct // nil where nothing does
	end  []int32      // of the prompt, maybe empty, that begins there
}

func readTree(text string) *tree {
	t := &tree{text, make([]*construct, len(text)), make([]int32, len(text)+1)}
	t.end[len(text)] = int32(len(text))
	for i := len(text) - 1; i >= 0; i-- {
		switch c := text[i]; c {
		case '(', '[':
			t.at[i] = t.bracket(i)
			t.end[i] = int32(i)
			if found := t.at[i]; found != nil {
				t.end[i] = t.end[found.end]
			}
		case ')', ']', ':', '|':
			t.end[i] = int32(i)
		case '\\':
			t.end[i] = int32(i)
			if n := t.escaped(i); n > 0 {
				t.end[i] = t.end[i+n]
			}
		default:
			t.end[i] = t.end[i+1]
		}
	}
	return t
}

// escaped is the length of a backslash and its character, 0 if there is none that a backslash can stand before.
func (t *tree) escaped(i int) int {
	if i+1 >= len(t.text) || t.text[i+1] == '\n' {
		return 0
	}
	_, n := utf8.DecodeRuneInString(t.text[i+1:])
	return 1 + n
}

// byteAt is a byte of the text, 0 at its end.
func (t *tree) byteAt(i int) byte {
	if i < len(t.text) {
		return t.text[i]
	}
	return 0
}

// bracket reads the construct that begins at i.
func (t *tree) bracket(i int) *construct {
	closing, c := byte(']'), &construct{kind: 'e'}
	if t.text[i] == '(' {
		closing = ')'
	}
	var separator byte
	for from := i + 1; ; {
		part := span{from, int(t.end[from])}
		c.parts = append(c.parts, part)
		next := t.byteAt(part.to)
		if next == closing {
			c.end = part.to + 1
			break
		}
		if next != ':' && (next != '|' || closing == ')') || separator != 0 && next != separator || next == ':' && len(c.parts) == 3 {
			return nil
		}
		separator = next
		from = part.to + 1
	}
	switch {
	case separator == '|':
		c.kind = 'a'
	case separator == ':' && closing == ')':
		if len(c.parts) != 2 {
			return nil
		}
	case separator == ':':
		last := len(c.parts) - 1
		c.kind, c.when = 's', trimSpace(t.text[c.parts[last].from:c.parts[last].to])
		if !isNumber(c.when) {
			return nil
		}
		c.parts = c.parts[:last]
	}
	return c
}

var number = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$`)

func isNumber(s string) bool { return number.MatchString(s) }

// start drops the constructs that A1111's parser reads as text at the top of a text, and reports whether the grammar
// covers it. Where two brackets or colons that are text follow a construct, its Earley parser prefers to read that as
// text too, unless it has a |.
func (t *tree) start() bool {
	text := make([]bool, len(t.text)+2) // a bracket or colon that is no syntax
	dropped := map[int]bool{}
	for i := len(t.text) - 1; i >= 0; i-- {
		if c := t.at[i]; c != nil {
			if c.kind == 'a' || !text[c.end] || !text[c.end+1] {
				continue
			}
			dropped[i] = true
		}
		text[i] = strings.IndexByte("[]():", t.text[i]) >= 0
	}
	for i := 0; i < len(t.text); {
		c := t.at[i]
		switch {
		case c != nil && !dropped[i]:
			i = c.end
			continue
		case c != nil:
			t.at[i] = nil
		case t.text[i] == '|', t.text[i] == '\\' && t.escaped(i) == 0:
			return false
		}
		i += t.literal(i)
	}
	return true
}

// collect adds the steps at which a text changes.
func (t *tree) collect(spans []span, steps int, until *[]int) {
	for _, s := range spans {
		for i := s.from; i < s.to; {
			c := t.at[i]
			if c == nil {
				i += t.literal(i)
				continue
			}
			switch c.kind {
			case 's':
				if when := c.step(steps); when >= 1 {
					*until = append(*until, when)
				}
			case 'a':
				for step := 1; step <= steps; step++ {
					*until = append(*until, step)
				}
			}
			t.collect(c.parts, steps, until)
			i = c.end
		}
	}
}

// literal is the length of what is copied at i.
func (t *tree) literal(i int) int {
	if t.text[i] == '\\' {
		return max(1, t.escaped(i))
	}
	return 1
}

// step is the last step before a scheduled text changes: a number with a point is a fraction of the steps.
func (c *construct) step(steps int) int {
	v, _ := strconv.ParseFloat(c.when, 64) // too large is ±Inf
	if strings.Contains(c.when, ".") {
		v *= float64(steps)
	}
	return int(math.Trunc(min(max(v, math.MinInt32), float64(steps))))
}

// write is at_step.
func (t *tree) write(out *strings.Builder, spans []span, step, steps int) {
	for _, s := range spans {
		for i := s.from; i < s.to; {
			c := t.at[i]
			if c == nil {
				n := t.literal(i)
				out.WriteString(t.text[i : i+n])
				i += n
				continue
			}
			switch c.kind {
			case 'e':
				out.WriteByte(t.text[i])
				t.write(out, c.parts[:1], step, steps)
				if len(c.parts) == 2 {
					out.WriteByte(':')
					t.write(out, c.parts[1:], step, steps)
				}
				out.WriteByte(t.text[c.end-1])
			case 's':
				which := len(c.parts) - 1
				if step <= c.step(steps) {
					which--
				}
				if which >= 0 {
					t.write(out, c.parts[which:which+1], step, steps)
				}
			case 'a':
				which := max(step-1, 0) % len(c.parts)
				t.write(out, c.parts[which:which+1], step, steps)
			}
			i = c.end
		}
	}
}
