package tokenizer

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// charClass is the class of a character in the reference's regular expressions.
type charClass uint8

const (
	other charClass = iota
	letter
	number
	space
)

// classRange says that the characters lo to hi are of one class.
type classRange struct {
	lo, hi rune
	class  charClass
}

// asciiClasses holds the classes of ASCII, so that the commonest characters need no search.
var asciiClasses = func() (classes [utf8.RuneSelf]charClass) {
	for r := range classes {
		classes[r] = searchClass(rune(r))
	}
	return classes
}()

func class(r rune) charClass {
	if r < utf8.RuneSelf {
		return asciiClasses[r]
	}
	return searchClass(r)
}

func searchClass(r rune) charClass {
	i, found := slices.BinarySearchFunc(classRanges, r, func(e classRange, r rune) int {
		switch {
		case e.hi < r:
			return -1
		case e.lo > r:
			return 1
		}
		return 0
	})
	if !found {
		return other
	}
	return classRanges[i].class
}

// contractions are split off the word before them, in this order of preference.
var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// marker is one of the two strings that the reference's pattern splits off the punctuation around them, whatever the
// special tokens of the folder are.
type marker struct{ text, name string }

var markers = []marker{{"<|startoftext|>", "startoftext"}, {"<|endoftext|>", "endoftext"}}

// preTokenize calls yield with each word of normalised text, from left to right: a contraction, a run of letters, one
// number, or a run of anything else that is not white space. The patterns, applied one after the other, are
//
//	<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
//	's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
//
// of which the second divides nothing but the two markers.
func preTokenize(s string, yield func(word string)) {
	for len(s) > 0 {
		if name := leadingMarker(s); name != "" {
			yield("<|")
			yield(name)
			yield("|>")
			s = s[len(name)+4:]
			continue
		}
		r, size := utf8.DecodeRuneInString(s)
		c := class(r)
		end := size
		switch {
		case c == space:
			s = s[end:]
			continue
		case r == '\'':
			if n := leadingContraction(s); n > 0 {
				end = n
				break
			}
			end = runLength(s, other)
		case c != number:
			end = runLength(s, c)
		}
		yield(s[:end])
		s = s[end:]
	}
}

// runLength returns the length in bytes of the characters of class c at the start of s.
func runLength(s string, c charClass) int {
	for i, r := range s {
		if class(r) != c {
			return i
		}
	}
	return len(s)
}

// leadingMarker returns the name of the marker that s starts with, "" if none.
func leadingMarker(s string) string {
	if s[0] == '<' {
		for _, m := range markers {
			if strings.HasPrefix(s, m.text) {
				return m.name
			}
		}
	}
	return ""
}

// leadingContraction returns the length of the contraction that s starts with, 0 if none.
func leadingContraction(s string) int {
	for _, c := range contractions {
		if strings.HasPrefix(s, c) {
			return len(c)
		}
	}
	return 0
}
