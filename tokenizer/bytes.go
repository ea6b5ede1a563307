package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// endOfWord is what a token that ends a word ends with.
const endOfWord = "</w>"

// byteSymbols gives each byte the character that stands for it in the vocabulary: printable bytes stand for
// themselves, the others, in order, for U+0100 and up.
var byteSymbols = func() (symbols [256]rune) {
	next := rune(0x100)
	for b := range symbols {
		switch {
		case 33 <= b && b <= 126, 161 <= b && b <= 172, 174 <= b:
			symbols[b] = rune(b)
		default:
			symbols[b] = next
			next++
		}
	}
	return symbols
}()

// symbolBytes is the inverse of byteSymbols; -1 marks characters that stand for no byte.
var symbolBytes = func() (bytes [0x144]int16) {
	for r := range bytes {
		bytes[r] = -1
	}
	for b, r := range byteSymbols {
		bytes[r] = int16(b)
	}
	return bytes
}()

// appendTokenBytes appends the bytes that a token's characters stand for or, if one of them stands for none, the
// token as it is.
func appendTokenBytes(dst []byte, token string) []byte {
	n := len(dst)
	for _, r := range token {
		if int(r) >= len(symbolBytes) || symbolBytes[r] < 0 {
			return append(dst[:n], token...)
		}
		dst = append(dst, byte(symbolBytes[r]))
	}
	return dst
}

// lossyUTF8 returns b as text with U+FFFD for each maximal part of an ill-formed sequence (Unicode, section 3.9),
// which is coarser than Go's one per byte.
func lossyUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	var s strings.Builder
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			size = illFormedPart(b)
		}
		s.WriteRune(r)
		b = b[size:]
	}
	return s.String()
}

// illFormedPart returns the length of the longest prefix of b, which starts with an ill-formed sequence, that could
// have begun a well-formed one, and 1 if there is none.
func illFormedPart(b []byte) int {
	var need int
	lo, hi := byte(0x80), byte(0xBF)
	switch lead := b[0]; {
	case 0xC2 <= lead && lead <= 0xDF:
		need = 2
	case 0xE0 <= lead && lead <= 0xEF:
		need = 3
		if lead == 0xE0 {
			lo = 0xA0
		} else if lead == 0xED {
			hi = 0x9F
		}
	case 0xF0 <= lead && lead <= 0xF4:
		need = 4
		if lead == 0xF0 {
			lo = 0x90
		} else if lead == 0xF4 {
			hi = 0x8F
		}
	}
	n := 1
	for n < need && n < len(b) && lo <= b[n] && b[n] <= hi {
		n++
		lo, hi = 0x80, 0xBF
	}
	return n
}
