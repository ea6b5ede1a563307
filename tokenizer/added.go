package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a special or added token: a string that is split off the text before pre-tokenization.
type addedToken struct {
	content    string
	id         int32
	singleWord bool // matches only where no word character touches it
	lstrip     bool // matches the white space on its left too
	rstrip     bool // matches the white space on its right too
	normalised bool // its normalised form matches in normalised text
	plain      bool // was given as a string, without flags
}

// matcher finds added tokens in text. Its zero value finds none.
type matcher struct {
	tokens  []addedToken // pattern in content, the longest first
	byStart [256][]int   // indices into tokens by the pattern's first byte
}

// newMatchers returns the matcher for raw text, the one for normalised text and what each added token decodes to.
func newMatchers(tokens []addedToken) (raw, normalised matcher, decoded map[int32]string, err error) {
	decoded = make(map[int32]string, len(tokens))
	for _, t := range tokens {
		m := &raw
		if t.normalised {
			content := t.content
			t.content = string(appendNormalised(nil, content))
			m = &normalised
		}
		if t.content == "" {
			return raw, normalised, nil, fmt.Errorf("added token with id %d is empty", t.id)
		}
		if i := slices.IndexFunc(m.tokens, func(o addedToken) bool { return o.content == t.content }); i >= 0 {
			return raw, normalised, nil, fmt.Errorf("added tokens with the ids %d and %d both match %q", m.tokens[i].id, t.id, t.content)
		}
		m.tokens = append(m.tokens, t)
		decoded[t.id] = t.content
	}
	raw.index()
	normalised.index()
	return raw, normalised, decoded, nil
}

func (m *matcher) index() {
	slices.SortStableFunc(m.tokens, func(a, b addedToken) int { return len(b.content) - len(a.content) })
	for i, t := range m.tokens {
		m.byStart[t.content[0]] = append(m.byStart[t.content[0]], i)
	}
}

// split calls yield with the parts of s from left to right: added tokens with their id, the text between them with -1.
// Of the tokens that match, the leftmost wins, and of those the longest.
func (m *matcher) split(s string, yield func(part string, id int32)) {
	start := 0 // of the text not yet yielded
	for i := 0; i < len(s); {
		t := m.at(s, i)
		if t == nil {
			i++
			continue
		}
		from, to := i, i+len(t.content)
		i = to
		if t.singleWord && (endsWithWord(s[:from]) || startsWithWord(s[to:])) {
			continue
		}
		if t.lstrip {
			from = max(start, len(strings.TrimRightFunc(s[:from], isWhiteSpace)))
		}
		if t.rstrip {
			to = len(s) - len(strings.TrimLeftFunc(s[to:], isWhiteSpace))
		}
		if start < from {
			yield(s[start:from], -1)
		}
		yield(s[from:to], t.id)
		start = to
	}
	if start < len(s) {
		yield(s[start:], -1)
	}
}

// at returns the longest token at offset i of s, nil if there is none.
func (m *matcher) at(s string, i int) *addedToken {
	for _, k := range m.byStart[s[i]] {
		if strings.HasPrefix(s[i:], m.tokens[k].content) {
			return &m.tokens[k]
		}
	}
	return nil
}

func isWhiteSpace(r rune) bool { return unicode.Is(unicode.White_Space, r) }

func endsWithWord(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && isWord(r)
}

func startsWithWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && isWord(r)
}

// isWord reports whether r is a word character as Unicode's regular expressions define it (UTS 18, annex C).
func isWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
