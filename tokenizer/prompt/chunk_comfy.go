package prompt

import (
	"fmt"
	"strings"
)

// wordTokens is ComfyUI's max_word_length: shorter words are not cut at the end of a chunk. A word is a fragment, or an
// embedding.
const wordTokens = 8

// comfy is tokenize_with_weights.
func (c *Chunker) comfy(text string) (chunks []Chunk, warnings []string, err error) {
	var groups [][]Token
	for _, f := range comfy(text) {
		for _, word := range words(f.Text) {
			if strings.HasPrefix(word, comfyEmbedding) {
				name, asked, leftover := embeddingWord(word, c.known)
				if name == "" {
					warning := fmt.Sprintf("has %s%s, an embedding that there is not, which is left out", comfyEmbedding, asked)
					if len(c.names) > 0 {
						warning += "; there are: " + strings.Join(c.names, ", ")
					}
					warnings = append(warnings, warning)
				} else {
					groups = append(groups, c.embedding(name, f.Weight))
				}
				if word = leftover; word == "" {
					continue
				}
			}
			ids, err := c.tokens.Tokenize(word)
			if err != nil {
				return nil, nil, err
			}
			group := make([]Token, len(ids))
			for i, id := range ids {
				group[i] = Token{ID: id, Weight: f.Weight}
			}
			groups = append(groups, group)
		}
	}
	var content []Token
	for _, group := range groups {
		large := len(group) >= wordTokens
		for len(group) > 0 {
			free := c.Content() - len(content)
			if len(group) <= free {
				content, group = append(content, group...), nil
				break
			}
			if large || len(content) == 0 {
				content, group = append(content, group[:free]...), group[free:]
			}
			chunks, content = append(chunks, c.close(content)), nil
		}
	}
	return append(chunks, c.close(content)), warnings, nil
}

// known reports whether there is an embedding of a name, which may have a file's extension, as ComfyUI's do.
func (c *Chunker) known(name string) bool {
	return c.vectors[withoutExtension(name)] > 0 || c.vectors[name] > 0
}

func withoutExtension(name string) string {
	for _, extension := range []string{".safetensors", ".pt", ".bin"} {
		if short, ok := strings.CutSuffix(name, extension); ok {
			return short
		}
	}
	return name
}

// embedding is the vectors of an embedding.
func (c *Chunker) embedding(name string, weight float64) []Token {
	if c.vectors[name] == 0 {
		name = withoutExtension(name)
	}
	group := make([]Token, c.vectors[name])
	for i := range group {
		group[i] = Token{Weight: weight, Name: name, Vector: i}
	}
	return group
}
