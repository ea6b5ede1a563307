package prompt

import "slices"

// commaBacktrack is A1111's comma_padding_backtrack: how far back from a full chunk its last comma may be for what
// follows it to go into the next.
const commaBacktrack = 20

// a1111 is tokenize_line. A full chunk ends after a comma that is near, an embedding that does not fit goes into the
// next whole, and BREAK ends a chunk.
func (c *Chunker) a1111(text string) ([]Chunk, error) {
	var chunks []Chunk
	var content []Token
	full, comma := c.Content(), -1
	next := func() {
		chunks = append(chunks, c.padded(content))
		content, comma = nil, -1
	}
	for _, f := range attention(text) {
		if f.isBreak() {
			next()
			continue
		}
		ids, err := c.tokens.Tokenize(f.Text)
		if err != nil {
			return nil, err
		}
		for at := 0; at < len(ids); {
			switch {
			case ids[at] == c.comma:
				comma = len(content)
			case len(content) == full && comma >= 0 && full-comma <= commaBacktrack:
				moved := slices.Clone(content[comma+1:])
				content = content[:comma+1]
				next()
				content = moved
			}
			if len(content) == full {
				next()
			}
			name, length := c.nameAt(ids[at:])
			if name == "" {
				content = append(content, Token{ID: ids[at], Weight: f.Weight})
				at++
				continue
			}
			vectors := c.vectors[name]
			if len(content)+vectors > full {
				next()
			}
			for i := range min(vectors, full) { // more do not fit into any chunk
				content = append(content, Token{Weight: f.Weight, Name: name, Vector: i})
			}
			at += length
		}
	}
	if len(content) > 0 || chunks == nil {
		next()
	}
	return chunks, nil
}

// nameAt is the embedding whose name a list of tokens begins with, and the length of the name.
func (c *Chunker) nameAt(ids []int32) (name string, length int) {
	for _, e := range c.ids {
		if len(e.ids) <= len(ids) && slices.Equal(e.ids, ids[:len(e.ids)]) {
			return e.name, len(e.ids)
		}
	}
	return "", 0
}

// padded is close as A1111 does it: the content is filled up with eos, and where the padding is another token, that
// stands after the first eos, even one that the text has.
func (c *Chunker) padded(content []Token) Chunk {
	chunk := c.close(content)
	eos := slices.IndexFunc(chunk, func(t Token) bool { return t.Name == "" && t.ID == c.tokens.EOS() })
	for i := eos + 1; i < len(chunk); i++ {
		if c.tokens.Pad() != c.tokens.EOS() {
			chunk[i].ID = c.tokens.Pad()
		}
	}
	return chunk
}
