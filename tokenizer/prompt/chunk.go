package prompt

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/goxl/goxl/tokenizer"
)

// Token is a position of a chunk.
type Token struct {
	ID     int32   // 0 where there is a vector
	Weight float64 // 1 is none
	Name   string  // of the embedding whose vector takes the place of the token's, "" for a token
	Vector int     // of the embedding, from 0
}

// Chunk is what a text encoder takes at once: as many tokens as the tokenizer's MaxLength, bos, eos and padding among
// them.
type Chunk []Token

// IDs are the tokens' ids; vectors have id 0.
func (c Chunk) IDs() []int32 {
	ids := make([]int32, len(c))
	for i, t := range c {
		ids[i] = t.ID
	}
	return ids
}

// Weighted reports whether a token has a weight.
func (c Chunk) Weighted() bool {
	return slices.ContainsFunc(c, func(t Token) bool { return t.Weight != 1 })
}

// Chunker makes chunks for one text encoder.
type Chunker struct {
	tokens  *tokenizer.Tokenizer
	named   *tokenizer.Tokenizer // knows the embeddings' names
	vectors map[string]int       // of each embedding, by name
	names   []string             // sorted
	first   map[int32]Token      // what an id that only named has stands for
	ids     []namedIDs           // the longest first
	comma   int32                // no id if the vocabulary has no comma
}

// namedIDs is the name of an embedding as tokens, as A1111 looks for it.
type namedIDs struct {
	name string
	ids  []int32
}

// NewChunker returns the chunker of a tokenizer. vectors counts the vectors of each embedding that a prompt may name.
func NewChunker(t *tokenizer.Tokenizer, vectors map[string]int) (*Chunker, error) {
	c := &Chunker{tokens: t, named: t, vectors: vectors, names: slices.Sorted(maps.Keys(vectors)), first: map[int32]Token{}, comma: -1}
	if ids, err := t.Tokenize(","); err == nil && len(ids) == 1 {
		c.comma = ids[0]
	}
	var added []string
	for _, name := range c.names {
		ids, err := t.Tokenize(name)
		if err != nil {
			return nil, fmt.Errorf("embedding %q: %w", name, err)
		}
		if len(ids) > 0 {
			c.ids = append(c.ids, namedIDs{name, ids})
		}
		for i := range vectors[name] {
			c.first[int32(t.VocabSize()+len(added))] = Token{Weight: 1, Name: name, Vector: i}
			added = append(added, diffusersName(name, i))
		}
	}
	slices.SortStableFunc(c.ids, func(a, b namedIDs) int { return len(b.ids) - len(a.ids) })
	if len(added) == 0 {
		return c, nil
	}
	var err error
	c.named, err = t.Extend(added...)
	return c, err
}

// diffusersName is the token of an embedding's vector: NAME, NAME_1, NAME_2 …
func diffusersName(name string, vector int) string {
	if vector == 0 {
		return name
	}
	return fmt.Sprintf("%s_%d", name, vector)
}

// Content is how many tokens of a text a chunk has.
func (c *Chunker) Content() int { return c.tokens.MaxLength() - 2 }

// Empty is the chunk of an empty text.
func (c *Chunker) Empty() Chunk { return c.close(nil) }

// close puts bos and eos around tokens, and pads. What follows the first eos is padding, as in A1111's encoder of
// another padding token than eos.
func (c *Chunker) close(content []Token) Chunk {
	chunk := append(Chunk{{ID: c.tokens.BOS(), Weight: 1}}, content...)
	chunk = append(chunk, Token{ID: c.tokens.EOS(), Weight: 1})
	for len(chunk) < c.tokens.MaxLength() {
		chunk = append(chunk, Token{ID: c.tokens.Pad(), Weight: 1})
	}
	return chunk
}

// Chunks are a text's, one or more. Warnings say what of it is not used. The only error is about text that is not UTF-8.
func (c *Chunker) Chunks(s Style, text string) (chunks []Chunk, warnings []string, err error) {
	switch s {
	case A1111:
		chunks, err = c.a1111(text)
	case Comfy:
		return c.comfy(text)
	case Long:
		var tokens []Token
		if tokens, err = c.plain(text); err != nil {
			return nil, nil, err
		}
		for len(tokens) > c.Content() {
			chunks, tokens = append(chunks, c.close(tokens[:c.Content()])), tokens[c.Content():]
		}
		if len(tokens) > 0 || chunks == nil {
			chunks = append(chunks, c.close(tokens))
		}
	default:
		return c.cut(text)
	}
	return chunks, nil, err
}

// plain is the tokens of a text without syntax, in which diffusers' maybe_convert_prompt finds embeddings.
func (c *Chunker) plain(text string) ([]Token, error) {
	ids, err := c.named.Tokenize(text)
	if err != nil {
		return nil, err
	}
	// Every embedding of several vectors that is there gets the names of the others after its own, wherever the text has
	// it in its own spelling.
	expanded := text
	for _, name := range c.names {
		whole := func(id int32) bool { t := c.first[id]; return t.Name == name && t.Vector == 0 }
		if c.vectors[name] > 1 && slices.ContainsFunc(ids, whole) {
			var all []string
			for i := range c.vectors[name] {
				all = append(all, diffusersName(name, i))
			}
			expanded = strings.ReplaceAll(expanded, name, strings.Join(all, " "))
		}
	}
	if expanded != text {
		if ids, err = c.named.Tokenize(expanded); err != nil {
			return nil, err
		}
	}
	tokens := make([]Token, len(ids))
	for i, id := range ids {
		t, ok := c.first[id]
		if !ok {
			t = Token{ID: id, Weight: 1}
		}
		tokens[i] = t
	}
	return tokens, nil
}

// cut is one chunk of what fits.
func (c *Chunker) cut(text string) ([]Chunk, []string, error) {
	tokens, err := c.plain(text)
	if err != nil || len(tokens) <= c.Content() {
		return []Chunk{c.close(tokens)}, nil, err
	}
	var rest []int32
	for _, t := range tokens[c.Content():] {
		if t.Name == "" {
			rest = append(rest, t.ID)
		}
	}
	warning := fmt.Sprintf("was cut after %d of %d tokens; left out: %q", c.Content(), len(tokens), c.tokens.Decode(rest))
	return []Chunk{c.close(tokens[:c.Content()])}, []string{warning}, nil
}
