package prompt

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// isWord reports whether Python's \w holds for a character.
func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r) }

// Networks takes what A1111 calls extra networks out of a text: what matches <(\w+):([^>]+)>.
func Networks(text string) (rest string, found []Network) {
	var out strings.Builder
	for {
		open := strings.IndexByte(text, '<')
		if open < 0 {
			break
		}
		body := text[open+1:]
		name := len(body) - len(strings.TrimLeftFunc(body, isWord))
		close := strings.IndexByte(body, '>')
		if name == 0 || close < name+2 || body[name] != ':' {
			out.WriteString(text[:open+1])
			text = body
			continue
		}
		out.WriteString(text[:open])
		found = append(found, Network{body[:name], strings.Split(body[name+1:close], ":")})
		text = body[close+1:]
	}
	out.WriteString(text)
	return out.String(), found
}

// boundary reports whether \b holds between two parts of a text.
func boundary(before, after string) bool {
	a, _ := utf8.DecodeLastRuneInString(before)
	b, _ := utf8.DecodeRuneInString(after)
	return (before != "" && isWord(a)) != (after != "" && isWord(b))
}

// splitWord splits a text where a word of letters stands alone, as re.split with \bword\b does.
func splitWord(text, word string) (parts []string) {
	from := 0
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			return append(parts, text[from:])
		}
		at += i
		if boundary(text[:at], text[at:]) && boundary(text[:at+len(word)], text[at+len(word):]) {
			parts = append(parts, text[from:at])
			from = at + len(word)
		}
		at += len(word)
	}
}
