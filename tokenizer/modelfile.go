package tokenizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// vocabulary is a JSON object of tokens and their ids, in which no token may come twice.
type vocabulary map[string]int32

// UnmarshalJSON reads the object token by token, as the standard decoding would keep the last of two equal keys.
func (v *vocabulary) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return fmt.Errorf("the vocabulary is not an object of tokens and ids")
	}
	out := make(vocabulary, len(data)/20)
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		token := key.(string) // the decoder refuses other keys
		value, err := d.Token()
		if err != nil {
			return err
		}
		id, ok := value.(float64)
		if !ok || id != math.Trunc(id) || id < 0 || id > math.MaxInt32 {
			return fmt.Errorf("the id of token %q is %v, want an integer from 0 to %d", token, value, math.MaxInt32)
		}
		if _, twice := out[token]; twice {
			return fmt.Errorf("token %q is there twice", token)
		}
		out[token] = int32(id)
	}
	*v = out
	return nil
}

// mergeRule is a merge as a pair of tokens or as one string with a space between them.
type mergeRule [2]string

// UnmarshalJSON reads either form.
func (m *mergeRule) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		parts, err := parseMerge(s)
		*m = parts
		return err
	}
	var parts []string
	if err := json.Unmarshal(data, &parts); err != nil || len(parts) != 2 {
		return fmt.Errorf("merge %s is not a pair of tokens", data)
	}
	*m = mergeRule(parts)
	return nil
}

// section is a section of tokenizer.json with its text, which errors quote; the zero value if it is null or missing.
type section struct {
	component
	text json.RawMessage
}

// UnmarshalJSON reads the fields and keeps the text.
func (s *section) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	s.text = bytes.Clone(data)
	return json.Unmarshal(data, &s.component)
}

// String returns the text, cut to what an error has room for.
func (s section) String() string {
	if s.text == nil {
		return "missing"
	}
	return fmt.Sprintf("%.300s", s.text)
}

// isRight reports whether the section is missing or its direction is Right.
func (s section) isRight() bool { return s.text == nil || s.Direction == "Right" }

// component is a normaliser or pre-tokenizer, alone or a sequence; Direction is that of padding and truncation.
type component struct {
	Type          string      `json:"type"`
	Normalizers   []component `json:"normalizers"`
	PreTokenizers []component `json:"pretokenizers"`
	Pattern       pattern     `json:"pattern"`
	Content       string      `json:"content"`
	Behavior      string      `json:"behavior"`
	Invert        bool        `json:"invert"`
	PrefixSpace   bool        `json:"add_prefix_space"`
	Direction     string      `json:"direction"`
}

type pattern struct {
	Regex *string `json:"Regex"`
}

// The two forms of the word pattern: with the markers, as transformers 5 writes it, and without, as version 4 did. The
// reference replaces either by its own, the first.
const (
	wordPattern    = `'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+`
	markersPattern = `<\|startoftext\|>|<\|endoftext\|>|`
)

// tokenizerJSON is the part of tokenizer.json that determines ids.
type tokenizerJSON struct {
	Truncation   section     `json:"truncation"`
	Padding      section     `json:"padding"`
	AddedTokens  []addedJSON `json:"added_tokens"`
	Normalizer   section     `json:"normalizer"`
	PreTokenizer section     `json:"pre_tokenizer"`
	Model        struct {
		Type         string      `json:"type"`
		Dropout      *float64    `json:"dropout"`
		Prefix       string      `json:"continuing_subword_prefix"`
		Suffix       *string     `json:"end_of_word_suffix"`
		FuseUnknown  bool        `json:"fuse_unk"`
		ByteFallback bool        `json:"byte_fallback"`
		IgnoreMerges bool        `json:"ignore_merges"`
		Vocab        vocabulary  `json:"vocab"`
		Merges       []mergeRule `json:"merges"`
	} `json:"model"`
}

// addedJSON is an entry of added_tokens.
type addedJSON struct {
	ID *int32 `json:"id"`
	tokenJSON
}

// parseTokenizerJSON reads tokenizer.json. What differs from CLIP's tokenizer in a way that would change ids is an
// error: the reference ignores it, so either the file or the reference would be wrong.
func parseTokenizerJSON(data []byte) (source, error) {
	var f tokenizerJSON
	if err := json.Unmarshal(data, &f); err != nil {
		return source{}, err
	}
	m := &f.Model
	dropout := 0.0
	if m.Dropout != nil {
		dropout = *m.Dropout
	}
	for _, check := range []struct {
		ok        bool
		field     string
		got, want any
	}{
		{m.Type == "BPE", "model.type", quoted(&m.Type), `"BPE"`},
		{dropout == 0, "model.dropout", dropout, "none"},
		{m.Prefix == "", "model.continuing_subword_prefix", quoted(&m.Prefix), `""`},
		{m.Suffix != nil && *m.Suffix == endOfWord, "model.end_of_word_suffix", quoted(m.Suffix), strconv.Quote(endOfWord)},
		{!m.FuseUnknown, "model.fuse_unk", m.FuseUnknown, false},
		{!m.ByteFallback, "model.byte_fallback", m.ByteFallback, false},
		{!m.IgnoreMerges, "model.ignore_merges", m.IgnoreMerges, false},
		{f.Truncation.isRight(), "truncation", f.Truncation, "direction Right"},
		{f.Padding.isRight(), "padding", f.Padding, "direction Right"},
		{isCLIPNormalizer(f.Normalizer), "normalizer", f.Normalizer, `the sequence NFC, Replace \s+ by a space, Lowercase`},
		{isCLIPPreTokenizer(f.PreTokenizer), "pre_tokenizer", f.PreTokenizer, "the sequence Split by CLIP's pattern, ByteLevel without add_prefix_space"},
		{m.Vocab != nil, "model.vocab", "missing", "an object"},
		{m.Merges != nil, "model.merges", "missing", "a list"},
	} {
		if !check.ok {
			return source{}, fmt.Errorf("%s is %v, a CLIP tokenizer has %v", check.field, check.got, check.want)
		}
	}
	src := source{vocab: m.Vocab, merges: make([][2]string, len(m.Merges))}
	for i, rule := range m.Merges {
		src.merges[i] = rule
	}
	for _, a := range f.AddedTokens {
		if a.ID == nil {
			return source{}, fmt.Errorf("added token %q has no id", a.Content)
		}
		if slices.ContainsFunc(src.added, func(o addedToken) bool { return o.id == *a.ID }) {
			return source{}, fmt.Errorf("added token %q has id %d, which another added token has", a.Content, *a.ID)
		}
		src.added = append(src.added, a.token(*a.ID, false))
	}
	return src, nil
}

func quoted(p *string) string {
	if p == nil {
		return "missing"
	}
	return strconv.Quote(*p)
}

func isCLIPNormalizer(s section) bool {
	return s.Type == "Sequence" && len(s.Normalizers) == 3 &&
		s.Normalizers[0].Type == "NFC" &&
		s.Normalizers[1].Type == "Replace" && is(s.Normalizers[1].Pattern.Regex, `\s+`) && s.Normalizers[1].Content == " " &&
		s.Normalizers[2].Type == "Lowercase"
}

func isCLIPPreTokenizer(s section) bool {
	if s.Type != "Sequence" || len(s.PreTokenizers) != 2 {
		return false
	}
	split, bytes := s.PreTokenizers[0], s.PreTokenizers[1]
	return split.Type == "Split" && (is(split.Pattern.Regex, wordPattern) || is(split.Pattern.Regex, markersPattern+wordPattern)) &&
		split.Behavior == "Removed" && split.Invert &&
		bytes.Type == "ByteLevel" && !bytes.PrefixSpace
}

func is(got *string, want string) bool { return got != nil && *got == want }
