package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/goxl/goxl/internal/standin"
)

// maxFileSize bounds every file read: the published vocabulary.json has 1 MB.
const maxFileSize = 64 << 20

// source is the content of a folder's files, not yet checked against each other.
type source struct {
	vocab     map[string]int32
	merges    [][2]string
	where     func(rank int) string // the location of a merge, for errors
	added     []addedToken          // tokenizer.json's
	vocabFile string
}

// HasVocabulary reports whether a tokenizer folder has a vocabulary in one of the two forms that [Load] reads.
// [LoadCLIP] reads a folder that has none.
func HasVocabulary(fsys fs.FS, dir string) bool {
	for _, file := range []string{"tokenizer.json", "vocab.json"} {
		if _, err := fs.Stat(fsys, path.Join(dir, file)); err == nil {
			return true
		}
	}
	return false
}

// Load reads the tokenizer folder dir of fsys, in either form: tokenizer.json, as transformers 5 writes it, or
// vocab.json with merges.txt; both with tokenizer_config.json, special_tokens_map.json and added_tokens.json where they
// exist. A folder with both forms is read from tokenizer.json, as the reference does. Which tokens are bos, eos and
// padding, and how long a sequence is, comes from the files; where they do not say, CLIP's <|startoftext|>,
// <|endoftext|>, <|endoftext|> and 77 hold.
//
// Errors name the file and what is wrong with it.
func Load(fsys fs.FS, dir string) (*Tokenizer, error) {
	t, err := load(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func load(fsys fs.FS, dir string) (*Tokenizer, error) {
	var src source
	modelFile := path.Join(dir, "tokenizer.json")
	data, err := readFile(fsys, modelFile)
	switch {
	case err == nil:
		if src, err = parseTokenizerJSON(data); err != nil {
			return nil, fmt.Errorf("%s: %w", modelFile, err)
		}
		src.vocabFile = modelFile
		src.where = func(rank int) string { return fmt.Sprintf("%s: model.merges[%d]", modelFile, rank) }
	case errors.Is(err, fs.ErrNotExist):
		if src, err = loadVocabAndMerges(fsys, dir); err != nil {
			return nil, err
		}
	default:
		return nil, err
	}

	c, err := loadConfig(fsys, dir, src.added)
	if err != nil {
		return nil, err
	}
	return build(src, c)
}

// build makes a tokenizer of the vocabulary and the configuration.
func build(src source, c config) (*Tokenizer, error) {
	model, err := newBPE(src.vocab, src.merges, c.named[unkToken].content)
	var atMerge *mergeError
	if errors.As(err, &atMerge) {
		return nil, fmt.Errorf("%s: %w", src.where(atMerge.rank), atMerge.err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", src.vocabFile, err)
	}
	assigned, err := c.assignIDs(src.vocab, src.vocabFile)
	if err != nil {
		return nil, err
	}
	added := assigned.tokens
	t := &Tokenizer{model: model, size: assigned.size, undeclared: assigned.undeclared, maxLength: c.maxLength}
	if t.raw, t.normalised, t.added, err = newMatchers(added); err != nil {
		return nil, fmt.Errorf("%s: %w", c.addedFile, err)
	}
	for name, id := range map[specialName]*int32{bosToken: &t.bos, eosToken: &t.eos, padToken: &t.pad} {
		for _, a := range added {
			if a.content == c.named[name].content {
				*id = a.id
			}
		}
	}
	return t, nil
}

// loadVocabAndMerges reads vocab.json and merges.txt.
func loadVocabAndMerges(fsys fs.FS, dir string) (source, error) {
	vocabFile, mergesFile := path.Join(dir, "vocab.json"), path.Join(dir, "merges.txt")
	data, err := readFile(fsys, vocabFile)
	if errors.Is(err, fs.ErrNotExist) {
		return source{}, fmt.Errorf("%s: neither tokenizer.json nor vocab.json is there: %w", dir, err)
	}
	if err != nil {
		return source{}, err
	}
	var vocab vocabulary
	if err := json.Unmarshal(data, &vocab); err != nil {
		return source{}, fmt.Errorf("%s: %w", vocabFile, err)
	}
	if data, err = readFile(fsys, mergesFile); err != nil {
		return source{}, err
	}
	merges, lines, err := parseMerges(string(data))
	if err != nil {
		return source{}, fmt.Errorf("%s: %w", mergesFile, err)
	}
	return source{
		vocab: vocab, merges: merges, vocabFile: vocabFile,
		where: func(rank int) string { return fmt.Sprintf("%s: line %d", mergesFile, lines[rank]) },
	}, nil
}

// parseMerges returns the merges of a merges.txt by rank, each with its line, counted from 1.
func parseMerges(text string) (merges [][2]string, lines []int, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if strings.HasPrefix(line, "#version") {
			continue
		}
		m, err := parseMerge(line)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", number, err)
		}
		merges, lines = append(merges, m), append(lines, number)
	}
	return merges, lines, nil
}

func parseMerge(s string) ([2]string, error) {
	left, right, ok := strings.Cut(s, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return [2]string{}, fmt.Errorf("merge %q is not two tokens with one space between them", s)
	}
	return [2]string{left, right}, nil
}

// readFile returns a file of text; the error names it.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !info.Mode().IsRegular() { // a pipe would wait for its writer
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	if info.Size() > maxFileSize {
		return nil, fmt.Errorf("%s: has %d bytes, allowed are %d", name, info.Size(), int64(maxFileSize))
	}
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if what := standin.Describe(data); what != "" {
		return nil, fmt.Errorf("%s: this is %s", name, what)
	}
	if offset := invalidUTF8(string(data)); offset >= 0 {
		return nil, fmt.Errorf("%s: not valid UTF-8 at byte %d", name, offset)
	}
	return data, nil
}
