package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/goxl/goxl/internal/standin"
)

// maxJSON bounds configuration and index files; the largest index of an SDXL model has 200 KB.
const maxJSON = 32 << 20

// member is one key of a JSON object, in the order of the file.
type member struct {
	key   string
	value json.RawMessage
}

// parseObject reads a JSON object and refuses anything else, text behind it, and a key that occurs twice at any depth.
func parseObject(data []byte, file string) ([]member, error) {
	bad := func(format string, a ...any) error {
		return &ConfigError{File: file, Allowed: fmt.Sprintf(format, a...)}
	}
	if len(data) > maxJSON {
		return nil, bad("%d bytes; allowed: at most %d", len(data), maxJSON)
	}
	if what := standin.Describe(data); what != "" {
		return nil, bad("this is %s", what)
	}
	if !utf8.Valid(data) {
		return nil, bad("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil {
		return nil, bad("not valid JSON: %v", jsonError(err))
	} else if t != json.Delim('{') {
		return nil, bad("not a JSON object")
	}
	var members []member
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, bad("not valid JSON: %v", jsonError(err))
		}
		m := member{key: t.(string)} // Token has checked that a key is a string
		if seen[m.key] {
			return nil, &ConfigError{File: file, Key: m.key, Allowed: "the key occurs twice"}
		}
		seen[m.key] = true
		if err := dec.Decode(&m.value); err != nil {
			return nil, bad("not valid JSON: %v", jsonError(err))
		}
		if key, twice := duplicateKey(m.value); twice {
			return nil, &ConfigError{File: file, Key: m.key + "." + key, Allowed: "the key occurs twice"}
		}
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, bad("not valid JSON: %v", jsonError(err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("text after the JSON object")
	}
	return members, nil
}

func jsonError(err error) error {
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends too early")
	}
	return err
}

// duplicateKey finds a key that occurs twice in one object of a valid JSON value.
func duplicateKey(value json.RawMessage) (string, bool) {
	type level struct {
		keys    map[string]bool // nil in a list
		wantKey bool
	}
	var open []level
	dec := json.NewDecoder(bytes.NewReader(value))
	for {
		t, err := dec.Token()
		if err != nil { // the end: the value is valid
			return "", false
		}
		if d, ok := t.(json.Delim); ok && (d == '{' || d == '[') {
			l := level{}
			if d == '{' {
				l = level{keys: map[string]bool{}, wantKey: true}
			}
			open = append(open, l)
			continue
		} else if ok {
			open = open[:len(open)-1]
		} else if n := len(open); n > 0 && open[n-1].wantKey {
			key := t.(string)
			if open[n-1].keys[key] {
				return key, true
			}
			open[n-1].keys[key] = true
			open[n-1].wantKey = false
			continue
		}
		if n := len(open); n > 0 && open[n-1].keys != nil {
			open[n-1].wantKey = true // a value is complete
		}
	}
}
