package tokenizer

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// appendNormalised appends s in Unicode NFC, each run of white space as one space, every character in lower case.
func appendNormalised(dst []byte, s string) []byte {
	var composed []byte
	if !isASCII(s) {
		composed = appendNFC(make([]byte, 0, len(s)), s)
		s = string(composed)
	}
	spaced := false
	for _, r := range s {
		if class(r) == space {
			if !spaced {
				dst = append(dst, ' ')
			}
			spaced = true
			continue
		}
		spaced = false
		dst = appendLower(dst, r)
	}
	return dst
}

// lowerRange says that the lower-case form of lo, lo+stride, … hi is the code point delta higher.
type lowerRange struct {
	lo, hi, stride, delta rune
}

// appendLower appends the lower-case form of r. It is a function of the character alone: the reference has no rule
// for a sigma that ends a word.
func appendLower(dst []byte, r rune) []byte {
	switch {
	case 'A' <= r && r <= 'Z':
		return append(dst, byte(r)+'a'-'A')
	case r < utf8.RuneSelf:
		return append(dst, byte(r))
	case r == 0x130: // I with a dot: the only one with two code points
		return append(dst, "i\u0307"...)
	}
	i, found := slices.BinarySearchFunc(lowerRanges, r, func(e lowerRange, r rune) int {
		switch {
		case e.hi < r:
			return -1
		case e.lo > r:
			return 1
		}
		return 0
	})
	if found && (r-lowerRanges[i].lo)%lowerRanges[i].stride == 0 {
		r += lowerRanges[i].delta
	}
	return utf8.AppendRune(dst, r)
}

// appendNFC appends s in the reference's NFC, whose Unicode version is older than that of package norm: code points
// that it does not know are boundaries which nothing crosses.
func appendNFC(dst []byte, s string) []byte {
	start := 0
	for i, r := range s {
		if r >= unnormalisedRanges[0][0] && isUnnormalised(r) {
			dst = appendSegmentNFC(dst, s[start:i])
			dst = utf8.AppendRune(dst, r)
			start = i + utf8.RuneLen(r)
		}
	}
	return appendSegmentNFC(dst, s[start:])
}

func isUnnormalised(r rune) bool {
	_, found := slices.BinarySearchFunc(unnormalisedRanges, r, func(e [2]rune, r rune) int {
		switch {
		case e[1] < r:
			return -1
		case e[0] > r:
			return 1
		}
		return 0
	})
	return found
}

// mark is a code point with its canonical combining class.
type mark struct {
	r   rune
	ccc uint8
}

// appendSegmentNFC appends s in NFC. Package norm supplies the tables only: its own conversion puts a U+034F into
// every run of more than 30 combining marks, which the reference does not.
func appendSegmentNFC(dst []byte, s string) []byte {
	if norm.NFC.IsNormalString(s) {
		return append(dst, s...)
	}
	marks := decompose(s)
	for i := 0; i < len(marks); {
		j := i + 1
		if marks[i].ccc != 0 {
			for j < len(marks) && marks[j].ccc != 0 {
				j++
			}
			slices.SortStableFunc(marks[i:j], func(a, b mark) int { return cmp.Compare(a.ccc, b.ccc) })
		}
		i = j
	}

	// Compose each character with the starter before it unless a mark of the same or a higher class is in between.
	out, starter := marks[:0], -1
	for _, m := range marks {
		if starter >= 0 && (len(out)-1 == starter || out[len(out)-1].ccc < m.ccc) {
			if r, ok := compose(out[starter].r, m.r); ok {
				out[starter].r = r
				continue
			}
		}
		if m.ccc == 0 {
			starter = len(out)
		}
		out = append(out, m)
	}
	for _, m := range out {
		dst = utf8.AppendRune(dst, m.r)
	}
	return dst
}

// decompose returns the canonical decomposition of s, code point by code point, not yet reordered.
func decompose(s string) []mark {
	marks := make([]mark, 0, len(s))
	var buf [64]byte
	for i, r := range s {
		if r < utf8.RuneSelf {
			marks = append(marks, mark{r: r})
			continue
		}
		parts := norm.NFD.AppendString(buf[:0], s[i:i+utf8.RuneLen(r)])
		for len(parts) > 0 {
			r, size := utf8.DecodeRune(parts)
			marks = append(marks, mark{r, norm.NFD.Properties(parts).CCC()})
			parts = parts[size:]
		}
	}
	return marks
}

// compose returns the one code point that a followed by b is canonically equivalent to, if NFC has one.
func compose(a, b rune) (rune, bool) {
	var buf, one [64]byte
	second := utf8.AppendRune(buf[:0], b)
	if norm.NFC.Properties(second).BoundaryBefore() {
		return 0, false
	}
	pair := utf8.AppendRune(utf8.AppendRune(buf[:0], a), b)
	composed := norm.NFC.Append(one[:0], pair...)
	r, size := utf8.DecodeRune(composed)
	return r, size == len(composed)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
