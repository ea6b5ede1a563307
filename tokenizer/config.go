package tokenizer

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// defaultMaxLength is CLIP's number of positions.
const defaultMaxLength = 77

// specialName is the key of a special token in the configuration.
type specialName string

const (
	bosToken specialName = "bos_token"
	eosToken specialName = "eos_token"
	unkToken specialName = "unk_token"
	padToken specialName = "pad_token"
)

// specialNames lists the keys in the order in which the reference adds their tokens; a later one overrides the flags of
// an earlier one with the same content.
var specialNames = []specialName{bosToken, eosToken, unkToken, "sep_token", padToken, "cls_token", "mask_token"}

// requiredSpecial are the special tokens that any sequence may have, so that they must have embeddings.
var requiredSpecial = []specialName{bosToken, eosToken, unkToken, padToken}

// config is the content of the configuration files.
type config struct {
	named     map[specialName]addedToken
	given     map[specialName]bool // the names that count as special in added_tokens.json
	extra     []addedToken         // additional special tokens
	listed    []string             // of those, the ones that count as special there
	found     []specificToken      // see readSpecific
	passed    []specificToken
	added     []addedToken // tokens with ids of their own, by id
	addedFile string       // for errors about added tokens
	maxLength int
}

// newConfig returns CLIP's own configuration with the given padding.
func newConfig(pad string) config {
	c := config{named: map[specialName]addedToken{}, given: map[specialName]bool{}, maxLength: defaultMaxLength}
	for name, content := range map[specialName]string{bosToken: startOfText, eosToken: endOfText, unkToken: endOfText, padToken: pad} {
		c.named[name] = addedToken{content: content, id: noID, plain: true}
	}
	return c
}

// loadConfig reads tokenizer_config.json and, unless that lists the added tokens itself, special_tokens_map.json and
// added_tokens.json; inModel are the added tokens of tokenizer.json. This is the reference's order.
func loadConfig(fsys fs.FS, dir string, inModel []addedToken) (config, error) {
	c := newConfig(endOfText)

	configFile := path.Join(dir, "tokenizer_config.json")
	fields, err := readObject(fsys, configFile)
	if err != nil {
		return c, err
	}
	if err := c.readFields(fields); err != nil {
		return c, fmt.Errorf("%s: %w", configFile, err)
	}
	if decoder, ok := fields.values["added_tokens_decoder"]; ok {
		c.addedFile = configFile
		if err := c.readDecoder(decoder); err != nil {
			return c, fmt.Errorf("%s: added_tokens_decoder: %w", configFile, err)
		}
	} else {
		mapFile, addedFile := path.Join(dir, "special_tokens_map.json"), path.Join(dir, "added_tokens.json")
		c.addedFile = addedFile
		if inModel != nil {
			c.addedFile = path.Join(dir, "tokenizer.json")
		}
		if fields, err = readObject(fsys, mapFile); err != nil {
			return c, err
		}
		if err := c.readTokens(fields, true); err != nil {
			return c, fmt.Errorf("%s: %w", mapFile, err)
		}
		if fields, err = readObject(fsys, addedFile); err != nil {
			return c, err
		}
		if err := c.readAdded(fields); err != nil {
			return c, fmt.Errorf("%s: %w", addedFile, err)
		}
		// Of a token that both list tokenizer.json counts.
		for _, t := range inModel {
			c.added = slices.DeleteFunc(c.added, func(o addedToken) bool { return o.id == t.id })
		}
		c.added = append(c.added, inModel...)
	}
	slices.SortStableFunc(c.added, func(a, b addedToken) int { return cmp.Compare(a.id, b.id) })
	return c, nil
}

// readObject returns the fields of a JSON object, none if the file does not exist.
func readObject(fsys fs.FS, name string) (object, error) {
	data, err := readFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return object{}, nil
	}
	if err != nil {
		return object{}, err
	}
	var fields object
	if err := json.Unmarshal(data, &fields); err != nil {
		return object{}, fmt.Errorf("%s: %w", name, err)
	}
	return fields, nil
}

// readFields takes what tokenizer_config.json says about the class, the length and the special tokens.
func (c *config) readFields(file object) error {
	fields := file.values
	for key, allowed := range map[string][]string{
		"tokenizer_class": {`"CLIPTokenizer"`, `"CLIPTokenizerFast"`, "null"},
		"padding_side":    {`"right"`},
		"truncation_side": {`"right"`},
	} {
		if value, ok := fields[key]; ok && !slices.Contains(allowed, string(value)) {
			return fmt.Errorf("%s is %s, allowed are %s", key, value, strings.Join(allowed, ", "))
		}
	}
	if value, ok := fields["model_max_length"]; ok && string(value) != "null" {
		length, err := strconv.ParseFloat(string(value), 64)
		switch {
		case err == nil && length >= 1e29: // the reference's VERY_LARGE_INTEGER: none is set
		case err != nil || length != float64(int(length)) || length < 2 || length > 1<<16:
			return fmt.Errorf("model_max_length is %s, want an integer from 2 to %d", value, 1<<16)
		default:
			c.maxLength = int(length)
		}
	}
	if err := c.readTokens(file, false); err != nil {
		return err
	}
	for _, t := range c.extra {
		if t.plain {
			c.listed = append(c.listed, t.content)
		}
	}
	return nil
}

// readTokens takes the named and the additional special tokens. Of the two names of the latter the newer one wins; the
// older one counts only where no file before it gave any. flagged says whether tokens with flags are special tokens for
// added_tokens.json too: the reference overlooks those of tokenizer_config.json.
func (c *config) readTokens(file object, flagged bool) error {
	if err := c.readSpecific(file, flagged); err != nil {
		return err
	}
	fields := file.values
	for _, name := range specialNames {
		value, ok := fields[string(name)]
		if !ok {
			continue
		}
		t, ok, err := parseToken(value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if ok {
			c.named[name], c.given[name] = t, t.plain || flagged
		}
	}
	if value, ok := fields["extra_special_tokens"]; ok && value[0] != '{' {
		extra, err := parseTokens(value)
		if err != nil {
			return fmt.Errorf("extra_special_tokens: %w", err)
		}
		for _, t := range extra {
			if !slices.Contains(c.extra, t) {
				c.extra = append(c.extra, t)
			}
			if flagged {
				c.listed = append(c.listed, t.content)
			}
		}
	}
	if value, ok := fields["additional_special_tokens"]; ok && len(c.extra) == 0 {
		extra, err := parseTokens(value)
		if err != nil {
			return fmt.Errorf("additional_special_tokens: %w", err)
		}
		c.extra = extra
	}
	return nil
}

// readDecoder takes an object of ids and tokens with flags.
func (c *config) readDecoder(data json.RawMessage) error {
	var decoder map[string]tokenJSON
	if err := json.Unmarshal(data, &decoder); err != nil {
		return err
	}
	for key, j := range decoder {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil || id < 0 {
			return fmt.Errorf("%q is not an id", key)
		}
		c.added = append(c.added, j.token(int32(id), false))
	}
	return nil
}

// readAdded takes the older added_tokens.json, an object of tokens and ids.
func (c *config) readAdded(fields object) error {
	for content, value := range fields.values {
		id, err := strconv.ParseInt(string(value), 10, 32)
		if err != nil || id < 0 {
			return fmt.Errorf("the id of added token %q is %s, want a non-negative integer", content, value)
		}
		t := addedToken{content: content, id: int32(id), normalised: !c.isSpecial(content)}
		if i := slices.IndexFunc(c.added, func(o addedToken) bool { return o.id == t.id }); i >= 0 {
			return fmt.Errorf("id %d is given to two tokens, %q and %q", id, min(c.added[i].content, content), max(c.added[i].content, content))
		}
		c.added = append(c.added, t)
	}
	return nil
}

// isSpecial reports whether the files before added_tokens.json name content as a special token.
func (c *config) isSpecial(content string) bool {
	for name, given := range c.given {
		if given && c.named[name].content == content {
			return true
		}
	}
	return slices.Contains(c.listed, content)
}

// ids is what assignIDs finds.
type ids struct {
	tokens     []addedToken // each with its id, each content once
	size       int          // the number of ids
	undeclared int          // of those, the last ones, that no file declares
}

// assignIDs gives every added token its id. Tokens of the vocabulary keep theirs; others follow it without a gap, in
// the order of the ids that the files give them; then come special tokens that are neither in the vocabulary nor
// declared, in the order of the files. vocabFile is for errors.
func (c *config) assignIDs(vocab map[string]int32, vocabFile string) (ids, error) {
	size := len(vocab)
	var tokens []addedToken
	for i, t := range c.added {
		if slices.ContainsFunc(c.added[:i], func(o addedToken) bool { return o.content == t.content }) {
			return ids{}, fmt.Errorf("%s: added token %q has two ids", c.addedFile, t.content)
		}
		want, known := vocab[t.content]
		if !known {
			want = int32(size)
			size++
		}
		if t.id != want {
			return ids{}, fmt.Errorf("%s: added token %q has id %d, want %d by the vocabulary and the added tokens before it", c.addedFile, t.content, t.id, want)
		}
		tokens = append(tokens, t)
	}

	declared := len(tokens)
	var seen []addedToken
	undeclared := map[string]int32{}
	assign := func(t addedToken) {
		if slices.ContainsFunc(tokens[:declared], func(o addedToken) bool { return o.content == t.content }) || slices.Contains(seen, t) {
			return
		}
		seen = append(seen, t)
		id, known := vocab[t.content]
		if !known {
			if id, known = undeclared[t.content]; !known {
				id = int32(size + len(undeclared))
				undeclared[t.content] = id
			}
		}
		t.id = id
		tokens = slices.DeleteFunc(tokens, func(o addedToken) bool { return o.content == t.content })
		tokens = append(tokens, t)
	}
	specific := c.specific()
	for _, name := range specialNames {
		t, ok := c.named[name]
		if !ok {
			continue
		}
		assign(t)
		if _, isNew := undeclared[t.content]; isNew && slices.Contains(requiredSpecial, name) {
			return ids{}, fmt.Errorf("%s: %s %q is neither in the vocabulary nor an added token", vocabFile, name, t.content)
		}
	}
	for _, t := range specific {
		assign(t.addedToken)
	}
	for _, t := range c.extra {
		assign(t)
	}
	return ids{tokens, size + len(undeclared), len(undeclared)}, nil
}
