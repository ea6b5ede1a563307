package tokenizer_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/goxl/goxl/tokenizer"
)

func TestEncodeLengths(t *testing.T) {
	tok := load(t, "clip_2")
	for _, n := range []int{0, 1, 74, 75, 76, 200} {
		e, err := tok.Encode(strings.Repeat("a ", n))
		if err != nil {
			t.Fatal(err)
		}
		if e.Tokens != n || len(e.IDs) != 77 || cap(e.IDs) != 77 {
			t.Errorf("%d words: %d tokens in %d ids", n, e.Tokens, len(e.IDs))
		}
		kept := min(n, 75)
		if e.IDs[0] != tok.BOS() || e.IDs[kept+1] != tok.EOS() {
			t.Errorf("%d words: ids %v do not have bos and eos in their places", n, e.IDs)
		}
		for _, id := range e.IDs[kept+2:] {
			if id != tok.Pad() {
				t.Errorf("%d words: ids %v are not padded with %d", n, e.IDs, tok.Pad())
			}
		}
		if want := strings.TrimSpace(strings.Repeat("a ", n-kept)); e.Truncated != want {
			t.Errorf("%d words: truncated %q, want %q", n, e.Truncated, want)
		}
	}
}

func TestInvalidUTF8(t *testing.T) {
	tok := load(t, "clip")
	for text, offset := range map[string]int{"\xff": 0, "caf\xc3": 3, "ok \xed\xa0\x80": 3, "\U0001f600\xf0\x9f\x98": 4, "\ufffd\x80": 3} {
		_, encodeErr := tok.Encode(text)
		_, tokenizeErr := tok.Tokenize(text)
		for _, err := range []error{encodeErr, tokenizeErr} {
			var invalid *tokenizer.InvalidUTF8Error
			if !errors.As(err, &invalid) || invalid.Offset != offset {
				t.Errorf("%q: error %v, want one about byte %d", text, err, offset)
			}
		}
	}
	if _, err := tok.Encode("\ufffd is a character like any other"); err != nil {
		t.Error(err)
	}
}

func TestDecodeIllFormed(t *testing.T) {
	tok := load(t, "clip")
	// The ids of single bytes; Unicode wants one U+FFFD for each maximal part of a sequence.
	for text, want := range map[string]string{
		"\xf0\x9f\x98": "\ufffd", "\xe4\xb8": "\ufffd", "\xe4\xe4\xb8\xad": "\ufffd\u4e2d", "\x80\x80": "\ufffd\ufffd",
		"\xed\xa0\x80": "\ufffd\ufffd\ufffd", "\xf4\x90\x80\x80": "\ufffd\ufffd\ufffd\ufffd", "\xe0\x80a": "\ufffd\ufffda", "\xc0\xaf": "\ufffd\ufffd",
	} {
		var list []int32
		for i := range len(text) {
			list = append(list, byteID(text[i]))
		}
		if got := tok.Decode(list); got != want {
			t.Errorf("%q decodes to %+q, want %+q", text, got, want)
		}
	}
	if got := tok.Decode([]int32{-1, 49408, 1 << 30}); got != "" {
		t.Errorf("ids out of range decode to %q", got)
	}
}

// byteID returns the id of a byte inside a word: printable bytes come first in CLIP's vocabulary.
func byteID(b byte) int32 {
	printable := func(b int) bool { return 33 <= b && b <= 126 || 161 <= b && b <= 172 || 174 <= b }
	id := int32(0)
	if !printable(int(b)) {
		id = 188
	}
	for other := range int(b) {
		if printable(other) == printable(int(b)) {
			id++
		}
	}
	return id
}

func TestConcurrentUse(t *testing.T) {
	g := loadGoldens(t)
	tok := load(t, "clip")
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for i, want := range g.Sets[0].Cases[:400] {
				got, err := tok.Tokenize(g.Texts[i])
				if err != nil || !want.equal(got) {
					t.Errorf("%q: %v, %v", g.Texts[i], got, err)
				}
			}
		})
	}
	wait.Wait()
}

// TestLongWords encodes hostile texts, which are so long that a loop over all of them at each of their bytes does not
// end within the limit, a hundred times what n log n takes: words of one kind of letter, merges that go on for ever,
// marks to be sorted, tokens cut out.
func TestLongWords(t *testing.T) {
	const limit = 2 * time.Minute
	size := 1 << 20
	if testing.Short() {
		size >>= 3
	}
	tok := load(t, "clip_2")
	odd := load(t, "odd")
	for name, unit := range map[string]string{
		"one letter": "a", "letters": "thequickbrown", "punctuation": ".?-", "marks": "\u0301\u0316", "hangul": "\u1100\u1161\u11a8",
		"not composed": "e\u0301", "special": "!", "blanks": " \t", "cut": "<|endoftext|", "numbers": "\u0661", "spaced tokens": "  <both>",
	} {
		text := strings.Repeat(unit, size/len(unit))
		ended := make(chan error, 1)
		go func() {
			_, err := tok.Tokenize(text)
			_, oddErr := odd.Tokenize(text)
			ended <- errors.Join(err, oddErr)
		}()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(limit):
			t.Fatalf("%s: %d bytes are not encoded in %v", name, len(text), limit)
		}
	}
}

func FuzzEncode(f *testing.F) {
	for _, text := range loadGoldens(f).Texts[:120] {
		f.Add(text)
	}
	f.Add("caf\xc3")
	toks := []*tokenizer.Tokenizer{load(f, "clip"), load(f, "clip_2"), load(f, "legacy"), load(f, "inversion"), load(f, "odd")}
	f.Fuzz(func(t *testing.T, text string) {
		for _, tok := range toks {
			e, err := tok.Encode(text)
			if (err == nil) != utf8.ValidString(text) {
				t.Fatalf("%q: error %v", text, err)
			}
			if err != nil {
				return
			}
			list, err := tok.Tokenize(text)
			if err != nil {
				t.Fatal(err)
			}
			if len(e.IDs) != tok.MaxLength() || e.Tokens != len(list) {
				t.Fatalf("%q: %d ids, want %d; %d tokens, want %d", text, len(e.IDs), tok.MaxLength(), e.Tokens, len(list))
			}
			// NFC can triple a text, and every byte gives one id at most.
			if len(list) > 3*len(text) {
				t.Fatalf("%q: %d ids of %d bytes", text, len(list), len(text))
			}
			kept := min(len(list), tok.MaxLength()-2)
			if !slices.Equal(e.IDs[1:kept+1], list[:kept]) || e.IDs[0] != tok.BOS() || e.IDs[kept+1] != tok.EOS() {
				t.Fatalf("%q: %v is not bos, %v, eos", text, e.IDs, list[:kept])
			}
			if kept == len(list) && e.Truncated != "" {
				t.Fatalf("%q: truncated %q though all fits", text, e.Truncated)
			}
			for _, id := range slices.Concat(e.IDs, list) {
				if id < 0 || int(id) >= tok.VocabSize() {
					t.Fatalf("%q: id %d is not in [0, %d)", text, id, tok.VocabSize())
				}
			}
			if decoded := tok.Decode(list); !utf8.ValidString(decoded) {
				t.Fatalf("%q: decoded to invalid UTF-8 %q", text, decoded)
			}
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tok := load(b, "clip")
	for name, text := range map[string]string{
		"prompt":     "cinematic photo of an astronaut riding a horse on mars, highly detailed, golden hour, 35mm, f/1.8",
		"10kB-text":  strings.Repeat("an intricate steampunk owl wearing a tophat, ", 228),
		"10kB-word":  strings.Repeat("antidisestablishmentarianism", 366),
		"decomposed": strings.Repeat("cre\u0300me bru\u0302le\u0301e ", 10),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tok.Encode(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCLIP(b *testing.B) {
	for b.Loop() {
		if _, err := tokenizer.CLIP("!"); err != nil {
			b.Fatal(err)
		}
	}
}
