package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Extend returns a tokenizer that knows more tokens, whose ids follow those there are, in order: the names of textual
// inversions. As what add_tokens of the reference adds, they match in normalised text, so in any case, and within words;
// the longest matches first. A name may be one of the vocabulary, but not empty, and not that of another added token.
func (t *Tokenizer) Extend(names ...string) (*Tokenizer, error) {
	more := *t
	more.added = maps.Clone(t.added)
	if more.added == nil {
		more.added = map[int32]string{}
	}
	more.normalised = matcher{tokens: slices.Clone(t.normalised.tokens)}
	for i, name := range names {
		content := string(appendNormalised(nil, name))
		if content == "" {
			return nil, errors.New("tokenizer: a token without a name")
		}
		same := func(o addedToken) bool { return o.content == content }
		if slices.ContainsFunc(more.normalised.tokens, same) || slices.ContainsFunc(t.raw.tokens, same) {
			return nil, fmt.Errorf("tokenizer: %q is a token that there is already", name)
		}
		id := int32(t.size + i)
		more.normalised.tokens = append(more.normalised.tokens, addedToken{content: content, id: id, normalised: true})
		more.added[id] = name
	}
	more.size += len(names)
	more.normalised.index()
	return &more, nil
}

// EndsWord reports whether a word of the vocabulary ends with a token.
func (t *Tokenizer) EndsWord(id int32) bool {
	_, added := t.added[id]
	return !added && id >= 0 && int(id) < len(t.model.tokens) && strings.HasSuffix(t.model.tokens[id], endOfWord)
}
