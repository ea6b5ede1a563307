package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Tokenizer maps text to token ids and back. It is immutable and safe for concurrent use.
type Tokenizer struct {
	model         *bpe
	raw           matcher          // added tokens that match in the text as given
	normalised    matcher          // added tokens that match after normalisation
	added         map[int32]string // what an added token decodes to
	size          int              // 1 + the largest id
	undeclared    int              // number of ids, the last ones, that no file declares
	bos, eos, pad int32
	maxLength     int
}

// An Encoding is a prompt as the input ids of a text encoder.
type Encoding struct {
	// IDs has exactly MaxLength entries: bos, at most MaxLength-2 ids of the text, eos, then the padding id.
	IDs []int32
	// Truncated is the part of the text that was truncated, decoded from its ids (so in lower case), "" if none was.
	Truncated string
	// Tokens is the number of ids of the whole text, truncated ones included, without bos, eos and padding.
	Tokens int
}

// An InvalidUTF8Error reports text that is not valid UTF-8.
type InvalidUTF8Error struct {
	Offset int // of the first offending byte
}

func (e *InvalidUTF8Error) Error() string {
	return fmt.Sprintf("tokenizer: text is not valid UTF-8 at byte %d", e.Offset)
}

// BOS returns the id that starts every sequence.
func (t *Tokenizer) BOS() int32 { return t.bos }

// EOS returns the id that ends the text of a sequence.
func (t *Tokenizer) EOS() int32 { return t.eos }

// Pad returns the id that fills a sequence up to MaxLength.
func (t *Tokenizer) Pad() int32 { return t.pad }

// MaxLength returns the number of ids of every Encoding, 77 for CLIP.
func (t *Tokenizer) MaxLength() int { return t.maxLength }

// VocabSize returns the number of ids, added tokens included: every id is in [0, VocabSize).
func (t *Tokenizer) VocabSize() int { return t.size }

// Undeclared returns how many of the ids, the last ones, belong to special tokens that are neither in the vocabulary
// nor among the added tokens. As in the reference they load; a text encoder whose embeddings were not resized has
// no embedding for them.
func (t *Tokenizer) Undeclared() int { return t.undeclared }

// Encode returns text as one padded sequence. Text that does not fit is truncated on the right and reported in the
// Encoding. The only error is an [*InvalidUTF8Error].
func (t *Tokenizer) Encode(text string) (Encoding, error) {
	ids, err := t.Tokenize(text)
	if err != nil {
		return Encoding{}, err
	}
	e := Encoding{IDs: make([]int32, 0, t.maxLength), Tokens: len(ids)}
	kept := ids[:min(len(ids), t.maxLength-2)]
	e.IDs = append(e.IDs, t.bos)
	e.IDs = append(e.IDs, kept...)
	e.IDs = append(e.IDs, t.eos)
	for len(e.IDs) < t.maxLength {
		e.IDs = append(e.IDs, t.pad)
	}
	if rest := ids[len(kept):]; len(rest) > 0 {
		e.Truncated = t.Decode(rest)
	}
	return e, nil
}

// Tokenize returns the ids of text without bos, eos, padding and truncation. The only error is an [*InvalidUTF8Error].
func (t *Tokenizer) Tokenize(text string) ([]int32, error) {
	if offset := invalidUTF8(text); offset >= 0 {
		return nil, &InvalidUTF8Error{Offset: offset}
	}
	var (
		ids   = make([]int32, 0, len(text)/3+2)
		clean []byte
		w     word
	)
	t.raw.split(text, func(part string, id int32) {
		if id >= 0 {
			ids = append(ids, id)
			return
		}
		clean = appendNormalised(clean[:0], part)
		t.normalised.split(string(clean), func(part string, id int32) {
			if id >= 0 {
				ids = append(ids, id)
				return
			}
			preTokenize(part, func(piece string) { ids = t.model.encode(ids, piece, &w) })
		})
	})
	return ids, nil
}

// Decode returns the text of ids, spaces where words end, bytes that are not UTF-8 replaced by U+FFFD. Ids out of
// range are left out; bos, eos and padding are not.
func (t *Tokenizer) Decode(ids []int32) string {
	var raw []byte
	for _, id := range ids {
		token, ok := t.added[id]
		if !ok {
			if id < 0 || int(id) >= len(t.model.tokens) {
				continue
			}
			token = t.model.tokens[id]
		}
		raw = appendTokenBytes(raw, token)
	}
	text := strings.ReplaceAll(lossyUTF8(raw), endOfWord, " ")
	return strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || '\x1c' <= r && r <= '\x1f' })
}

// invalidUTF8 returns the offset of the first byte of s that is not UTF-8, -1 if there is none.
func invalidUTF8(s string) int {
	if utf8.ValidString(s) {
		return -1
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}
