package tokenizer

import (
	"bytes"
	"compress/gzip"
	_ "embed" // of the vocabulary
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// clipMerges is CLIP's merges.txt, the source of all 49,408 tokens. OpenAI published it under the MIT licence; this
// copy comes from the Python package open_clip_torch 3.3.0 and is written by
//
//	pip download --no-deps open_clip_torch==3.3.0
//	python tools/reference/tokenizer.py vocabulary open_clip_torch-3.3.0-py3-none-any.whl
//
//go:embed clip_merges.txt.gz
var clipMerges []byte

const (
	startOfText = "<|startoftext|>"
	endOfText   = "<|endoftext|>"
)

// clipSource unpacks the embedded vocabulary once.
var clipSource = sync.OnceValues(func() (source, error) {
	unpacked, err := gzip.NewReader(bytes.NewReader(clipMerges))
	if err != nil {
		return source{}, err
	}
	text, err := io.ReadAll(unpacked)
	if err != nil {
		return source{}, err
	}
	merges, lines, err := parseMerges(string(text))
	if err != nil {
		return source{}, err
	}
	return source{
		vocab: clipVocabulary(merges), merges: merges, vocabFile: "embedded vocabulary",
		where: func(rank int) string { return fmt.Sprintf("embedded merges: line %d", lines[rank]) },
	}, nil
})

// clipVocabulary returns CLIP's vocabulary: the byte symbols, printable ones first, the same at the end of a word, what
// each merge gives, and the two special tokens.
func clipVocabulary(merges [][2]string) map[string]int32 {
	vocab := make(map[string]int32, 2*len(byteSymbols)+len(merges)+2)
	add := func(token string) { vocab[token] = int32(len(vocab)) }
	for _, suffix := range []string{"", endOfWord} {
		for _, printable := range []bool{true, false} {
			for b, r := range byteSymbols {
				if (int(r) == b) == printable {
					add(string(r) + suffix)
				}
			}
		}
	}
	for _, m := range merges {
		add(m[0] + m[1])
	}
	add(startOfText)
	add(endOfText)
	return vocab
}

// CLIP returns the tokenizer with the published vocabulary of 49,408 tokens, which needs no file, and 77 ids a
// sequence. pad is a token of the vocabulary: "<|endoftext|>" is the padding of SDXL's first tokenizer, "!" that of its
// second, which like every special token is then cut out of the text wherever it stands.
func CLIP(pad string) (*Tokenizer, error) {
	src, err := clipSource()
	if err != nil {
		return nil, fmt.Errorf("tokenizer: embedded vocabulary: %w", err)
	}
	t, err := build(src, newConfig(pad))
	if err != nil {
		return nil, fmt.Errorf("tokenizer: CLIP vocabulary: %w", err)
	}
	return t, nil
}

// LoadCLIP is [Load] for a folder that has a configuration and no vocabulary: it gets the embedded one.
func LoadCLIP(fsys fs.FS, dir string) (*Tokenizer, error) {
	src, err := clipSource()
	if err != nil {
		return nil, fmt.Errorf("tokenizer: embedded vocabulary: %w", err)
	}
	c, err := loadConfig(fsys, dir, nil)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	t, err := build(src, c)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

// CLIPFiles returns the embedded vocabulary as the files that a tokenizer folder has: vocab.json and merges.txt.
func CLIPFiles() (map[string][]byte, error) {
	src, err := clipSource()
	if err != nil {
		return nil, fmt.Errorf("tokenizer: embedded vocabulary: %w", err)
	}
	merges := bytes.NewBufferString("#version: 0.2\n")
	for _, m := range src.merges {
		fmt.Fprintf(merges, "%s %s\n", m[0], m[1])
	}
	tokens := make([]string, len(src.vocab))
	for token, id := range src.vocab {
		tokens[id] = token
	}
	vocab := bytes.NewBufferString("{")
	write := json.NewEncoder(vocab)
	write.SetEscapeHTML(false)
	for id, token := range tokens {
		if id > 0 {
			vocab.WriteByte(',')
		}
		if err := write.Encode(token); err != nil {
			return nil, err
		}
		vocab.Truncate(vocab.Len() - 1) // the encoder's line end
		fmt.Fprintf(vocab, ":%d", id)
	}
	vocab.WriteString("}\n")
	return map[string][]byte{"vocab.json": vocab.Bytes(), "merges.txt": merges.Bytes()}, nil
}
