package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// object is a JSON object with its keys in the order of the file, which is the order of ids of new tokens.
type object struct {
	keys   []string // each once, where it comes first
	values map[string]json.RawMessage
}

// UnmarshalJSON reads an object; of a key that comes twice the last value counts, as in Python.
func (o *object) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return errors.New("want an object")
	}
	*o = object{values: map[string]json.RawMessage{}}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		key := t.(string) // the decoder refuses other keys
		if _, twice := o.values[key]; !twice {
			o.keys = append(o.keys, key)
		}
		o.values[key] = value
	}
	return nil
}

// specificToken is a special token under a name of the model's own, such as "image_token".
type specificToken struct {
	name string
	addedToken
}

// put adds a token, or replaces the one of the same name where it stands.
func put(list []specificToken, name string, t addedToken) []specificToken {
	if i := slices.IndexFunc(list, func(o specificToken) bool { return o.name == name }); i >= 0 {
		list[i].addedToken = t
		return list
	}
	return append(list, specificToken{name, t})
}

// readSpecific takes special tokens that a file names beside CLIP's own: any key that ends in "_token", and the entries
// of extra_special_tokens where that is an object, as transformers 4.47 to 4.57 wrote it. inMap says that the file is
// special_tokens_map.json. The order is the reference's: first what its constructor finds, then what is passed to it.
func (c *config) readSpecific(fields object, inMap bool) error {
	for _, key := range fields.keys {
		value := fields.values[key]
		if !strings.HasSuffix(key, "_token") || slices.Contains(specialNames, specialName(key)) {
			continue
		}
		typed := value[0] == '{' && (inMap || isTyped(value))
		if value[0] != '"' && !typed { // a flag such as "use_x_token"
			continue
		}
		t, _, err := parseToken(value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if typed || inMap {
			c.found = put(c.found, key, t)
		} else {
			c.passed = put(c.passed, key, t)
		}
	}
	extra := fields.values["extra_special_tokens"]
	if len(extra) == 0 || extra[0] != '{' {
		return nil
	}
	var entries object
	if err := json.Unmarshal(extra, &entries); err != nil {
		return fmt.Errorf("extra_special_tokens: %w", err)
	}
	for _, name := range entries.keys {
		value := entries.values[name]
		if value[0] != '"' && !isTyped(value) {
			return fmt.Errorf("extra_special_tokens: %s: %.100s is neither a string nor an object of type AddedToken", name, value)
		}
		t, _, err := parseToken(value)
		if err != nil {
			return fmt.Errorf("extra_special_tokens: %s: %w", name, err)
		}
		c.passed = put(c.passed, name, t)
	}
	if inMap { // it replaces a list of tokenizer_config.json
		c.extra, c.listed = nil, nil
	}
	return nil
}

// isTyped reports whether a value is an object of __type AddedToken, of which the reference makes a token in any place.
func isTyped(value json.RawMessage) bool {
	var typed struct {
		Type string `json:"__type"`
	}
	return json.Unmarshal(value, &typed) == nil && typed.Type == "AddedToken"
}

// specific returns the model's own special tokens in the order in which the reference adds them. Those under one of
// CLIP's names replace it.
func (c *config) specific() []specificToken {
	list := slices.Clone(c.found)
	for _, t := range c.passed {
		if name := specialName(t.name); slices.Contains(specialNames, name) {
			c.named[name] = t.addedToken
			continue
		}
		list = put(list, t.name, t.addedToken)
	}
	return list
}
