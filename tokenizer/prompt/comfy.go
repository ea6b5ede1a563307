package prompt

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Escaped brackets, while the others are read.
const (
	escapedClose = "\x00\x01"
	escapedOpen  = "\x00\x02"
)

// comfy is token_weights of an escaped text, whose fragments are unescaped. Brackets multiply by 1.1, and a weight takes
// the place of all around it.
func comfy(text string) []Fragment {
	text = strings.ReplaceAll(text, `\)`, escapedClose)
	text = strings.ReplaceAll(text, `\(`, escapedOpen)
	out := tokenWeights(nil, text, 1, maxComfyDepth)
	for i := range out {
		out[i].Text = strings.ReplaceAll(strings.ReplaceAll(out[i].Text, escapedClose, ")"), escapedOpen, "(")
	}
	return out
}

// maxComfyDepth is how deep brackets count, about as deep as Python recurses; deeper ones are text.
const maxComfyDepth = 1000

func tokenWeights(out []Fragment, text string, current float64, depth int) []Fragment {
	if depth == 0 {
		return append(out, Fragment{text, current})
	}
	for _, part := range parentheses(text) {
		if len(part) < 2 || part[0] != '(' || part[len(part)-1] != ')' {
			out = append(out, Fragment{part, current})
			continue
		}
		part, weight := part[1:len(part)-1], current*1.1
		if at := strings.LastIndexByte(part, ':'); at > 0 {
			if w, ok := pythonFloat(part[at+1:]); ok {
				part, weight = part[:at], w
			}
		}
		out = tokenWeights(out, part, weight, depth-1)
	}
	return out
}

// parentheses is parse_parentheses: the outermost brackets and what is between them.
func parentheses(text string) (parts []string) {
	from, level := 0, 0
	for i := range len(text) {
		switch text[i] {
		case '(':
			if level == 0 && i > from {
				parts = append(parts, text[from:i])
				from = i
			}
			level++
		case ')':
			level--
			if level == 0 {
				parts = append(parts, text[from:i+1])
				from = i + 1
			}
		}
	}
	if from < len(text) {
		parts = append(parts, text[from:])
	}
	return parts
}

// pythonFloat is Python's float, but for infinity and NaN, which are no weights.
func pythonFloat(s string) (float64, bool) {
	s = trimSpace(s)
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', c == '.', c == '+', c == '-', c == 'e', c == 'E':
		case c == '_' && i > 0 && i+1 < len(s) && isDigit(s[i-1]) && isDigit(s[i+1]):
		default:
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// Before a name, this stands for an embedding.
const comfyEmbedding = "embedding:"

// words cuts a fragment before each embedding: that at its beginning and those after white space.
func words(text string) (parts []string) {
	from := 0
	for at := 0; ; {
		i := strings.Index(text[at:], comfyEmbedding)
		if i < 0 {
			break
		}
		at += i
		if r, _ := utf8.DecodeLastRuneInString(text[:at]); at > 0 && isSpace(r) {
			if at > from {
				parts = append(parts, text[from:at])
			}
			from = at
		}
		at += len(comfyEmbedding)
	}
	if from < len(text) {
		parts = append(parts, text[from:])
	}
	return parts
}

// embeddingWord is _try_get_embedding: the name in a word that begins with embedding:, and the text after it. known
// says which names there are; "" is none of them.
func embeddingWord(word string, known func(string) bool) (name, asked, leftover string) {
	fields := strings.FieldsFunc(strings.Trim(word[len(comfyEmbedding):], "\n"), isSpace)
	if len(fields) == 0 {
		return "", "", ""
	}
	asked, leftover = fields[0], strings.Join(fields[1:], " ")
	if cut := strings.IndexAny(asked, "<["); cut >= 0 {
		rest := asked[cut:]
		if leftover != "" {
			rest += " " + leftover
		}
		asked, leftover = asked[:cut], rest
	}
	if known(asked) {
		return asked, asked, leftover
	}
	stripped := strings.Trim(asked, ",")
	if len(stripped) == len(asked) {
		return "", asked, leftover
	}
	leftover = asked[len(stripped):] + " " + leftover
	if known(stripped) {
		return stripped, asked, leftover
	}
	return "", asked, leftover
}
