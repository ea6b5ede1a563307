package prompt

import (
	"math"
	"regexp"
	"strconv"
	"strings"
)

// The weight of a break, which is a fragment "BREAK": one in brackets gets another weight, and is text, as in A1111.
const breakWeight = -1

func (f Fragment) isBreak() bool { return f.Text == "BREAK" && f.Weight == breakWeight }

// closing is a weight with the bracket that ends it.
var closing = regexp.MustCompile(`^:` + pythonSpace + `([+-]?[.0-9]+)` + pythonSpace + `\)`)

const pythonSpace = `[\t-\r\x1c-\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]*`

// attention is parse_prompt_attention. A weight that Python's float refuses, such as 1.2.3, is text here and an error
// there.
func attention(text string) []Fragment {
	var res []Fragment
	var round, square []int
	scale := func(stack *[]int, by float64) {
		top := len(*stack) - 1
		for i := (*stack)[top]; i < len(res); i++ {
			res[i].Weight *= by
		}
		*stack = (*stack)[:top]
	}
	for len(text) > 0 {
		n, weight := token(text)
		piece := text[:n]
		text = text[n:]
		switch {
		case piece[0] == '\\':
			res = append(res, Fragment{piece[1:], 1})
		case piece == "(":
			round = append(round, len(res))
		case piece == "[":
			square = append(square, len(res))
		case weight != nil && len(round) > 0:
			scale(&round, *weight)
		case piece == ")" && len(round) > 0:
			scale(&round, 1.1)
		case piece == "]" && len(square) > 0:
			scale(&square, 1/1.1)
		default:
			res = appendBreaks(res, piece)
		}
	}
	// Brackets that are not closed count to the end, where the weights of all that is in them are known.
	openBrackets(res, round, 1.1)
	openBrackets(res, square, 1/1.1)
	return merge(res)
}

// openBrackets scales what follows brackets, of which there may be as many as fragments.
func openBrackets(res []Fragment, open []int, by float64) {
	next := 0
	for i := range res {
		for next < len(open) && open[next] <= i {
			next++
		}
		for range next {
			res[i].Weight *= by
		}
	}
}

// token is the length of the next lexical token, and the weight that it is.
func token(text string) (n int, weight *float64) {
	switch text[0] {
	case '\\':
		if len(text) > 1 && strings.IndexByte(`()[]\`, text[1]) >= 0 {
			return 2, nil
		}
		return 1, nil
	case '(', '[', ')', ']':
		return 1, nil
	case ':':
		m := closing.FindStringSubmatch(text)
		if m == nil {
			return 1, nil
		}
		w, err := strconv.ParseFloat(m[1], 64)
		if err != nil || math.IsInf(w, 0) {
			return 1, nil
		}
		return len(m[0]), &w
	}
	if n := strings.IndexAny(text, `\()[]:`); n > 0 {
		return n, nil
	}
	return len(text), nil
}

// appendBreaks appends a text, cut at BREAK, which the white space around it goes with.
func appendBreaks(res []Fragment, piece string) []Fragment {
	parts := splitWord(piece, "BREAK")
	for i, part := range parts {
		if i > 0 {
			res = append(res, Fragment{"BREAK", breakWeight})
			part = strings.TrimLeftFunc(part, isSpace)
		}
		if i < len(parts)-1 {
			part = strings.TrimRightFunc(part, isSpace)
		}
		res = append(res, Fragment{part, 1})
	}
	return res
}

// merge joins neighbours of one weight.
func merge(res []Fragment) []Fragment {
	var out []Fragment
	for i := 0; i < len(res); {
		var text strings.Builder
		j := i
		for ; j < len(res) && res[j].Weight == res[i].Weight; j++ {
			text.WriteString(res[j].Text)
		}
		j = max(j, i+1) // a weight of NaN is none of its own
		out = append(out, Fragment{text.String(), res[i].Weight})
		i = j
	}
	if out == nil {
		return []Fragment{{"", 1}}
	}
	return out
}
