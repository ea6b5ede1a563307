package server

import (
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/scheduler"
)

// fields reads the members of a JSON object as pydantic's lax mode does, and collects what is wrong with them.
type fields struct {
	values   map[string]json.RawMessage
	whole    json.RawMessage
	from     string            // what the fields are of, as "query"; "" is the body
	path     []any             // of members of an object: the place of that, as "controls", 0
	source   string            // the field that names an image
	uploads  map[string][]byte // images that came beside the fields, by the fields that they are of
	used     map[string]bool
	strange  []string // members of objects that nobody read, as "controls[0].colour"
	problems []problem
	notes    *fieldNotes // what is read, for the OpenAPI document; nil of a request
}

// use notes that a field was looked at.
func (f *fields) use(name string) {
	if f.used == nil {
		f.used = map[string]bool{}
	}
	f.used[name] = true
	f.notes.of(name)
}

// set gives a field a value that is not its client's.
func (f *fields) set(name string, value json.RawMessage) {
	f.values[name] = value
	if f.notes != nil {
		f.notes.set[name] = true
	}
}

// drop leaves out a field that means nothing here.
func (f *fields) drop(name string) {
	delete(f.values, name)
	if f.notes != nil {
		f.notes.set[name] = true
	}
}

// err is nil if every field that was read could be used.
func (f *fields) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	return &failure{kind: invalid, problems: f.problems}
}

func (f *fields) report(name, kind, msg string, ctx map[string]any) {
	input, ok := f.values[name]
	if !ok {
		input = f.whole
	}
	f.problems = append(f.problems, problem{Type: kind, Loc: f.place(name), Msg: msg, Input: quoted(input), Ctx: ctx})
}

// given returns an optional field's JSON, nil for null and for none.
func (f *fields) given(name string) json.RawMessage {
	f.use(name)
	if raw := f.values[name]; string(raw) != "null" {
		return raw
	}
	return nil
}

// text reads a required string.
func (f *fields) text(name string) string {
	f.use(name)
	f.notes.form(name, &jsonschema.Schema{Type: "string"})
	f.notes.need(name)
	raw, ok := f.values[name]
	if !ok {
		f.report(name, "missing", "Field required", nil)
		return ""
	}
	return f.decode(name, raw)
}

// optionalText reads a string, or nil.
func (f *fields) optionalText(name string) *string {
	f.notes.form(name, &jsonschema.Schema{Type: "string"})
	raw := f.given(name)
	if raw == nil {
		return nil
	}
	s := f.decode(name, raw)
	return &s
}

func (f *fields) decode(name string, raw json.RawMessage) (s string) {
	switch {
	case raw[0] != '"':
		f.report(name, "string_type", "Input should be a valid string", nil)
	case hasLoneSurrogate(raw) || json.Unmarshal(raw, &s) != nil:
		f.report(name, "string_unicode", "Input should be a valid string, unable to parse raw data as a unicode string", nil)
	}
	return s
}

// choice reads one of a few words, or "".
func (f *fields) choice(name string, words []string) string {
	f.notes.words(name, words)
	raw := f.given(name)
	if raw == nil {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil && slices.Contains(words, s) {
		return s
	}
	expected := oneOf(words)
	f.report(name, "literal_error", "Input should be "+expected, map[string]any{"expected": expected})
	return ""
}

// oneOf lists words as pydantic does.
func oneOf(words []string) string {
	expected := "nothing"
	for i, w := range words {
		switch w = "'" + w + "'"; {
		case i == 0:
			expected = w
		case i == len(words)-1:
			expected += " or " + w
		default:
			expected += ", " + w
		}
	}
	return expected
}

// scheduler reads one of the names, a schedule type after it or not, or what A1111 or ComfyUI call it, or "".
func (f *fields) scheduler(name string, names []string) string {
	f.notes.form(name, &jsonschema.Schema{Type: "string", Examples: values(names)})
	var s string
	if raw := f.given(name); raw != nil && json.Unmarshal(raw, &s) == nil {
		if own, err := scheduler.Lookup(s); err == nil && slices.Contains(names, scheduler.Sampler(own)) {
			return own
		}
	}
	return f.choice(name, names)
}

// limits of an integer; a step of 0 is none.
type limits struct{ min, max, step uint64 }

var (
	integerLiteral = regexp.MustCompile(`^-?[0-9]+$`)
	integerText    = regexp.MustCompile(`^[+-]?[0-9]+(_[0-9]+)*(\.0+)?$`)
)

const maxDigits = 4300 // as in Python and pydantic

// integer reads a whole number within limits: a number, or a string of digits. It returns otherwise where there is none.
func (f *fields) integer(name string, l limits, otherwise uint64) uint64 {
	whole := func(v uint64) *big.Int { return new(big.Int).SetUint64(v) }
	switch v, given := f.wholeNumber(name, whole(l.min), l.max, l.step, whole(otherwise)); {
	case !given:
		return otherwise
	case v == nil:
		return 0
	default:
		return v.Uint64()
	}
}

// seed reads a seed. It returns random's where there is none, and for -1, which clients of A1111's API send.
func (f *fields) seed(name string, most uint64, random func() uint64) uint64 {
	switch v, given := f.wholeNumber(name, big.NewInt(-1), most, 0, big.NewInt(-1)); {
	case !given:
		return random()
	case v == nil:
		return 0
	case v.Sign() < 0:
		return random()
	default:
		return v.Uint64()
	}
}

// wholeNumber is between of an optional field; what it is without a value is for its reader, and for the notes, nil
// where there is none to note.
func (f *fields) wholeNumber(name string, least *big.Int, most, step uint64, otherwise *big.Int) (v *big.Int, given bool) {
	f.notes.integer(name, least, most, step, otherwise)
	if f.given(name) == nil {
		return nil, false
	}
	return f.between(name, least, most, step), true
}

// between reads a whole number from least to most, a multiple of step unless that is 0. It returns nil after a report.
func (f *fields) between(name string, least *big.Int, most, step uint64) *big.Int {
	v := f.parseInteger(name, f.values[name])
	if v == nil {
		return nil
	}
	ctx := map[string]any{"ge": least, "le": most}
	if step > 0 {
		ctx["multiple_of"] = step
		if rest := new(big.Int).Rem(v, new(big.Int).SetUint64(step)); rest.Sign() != 0 {
			f.report(name, "multiple_of", fmt.Sprintf("Input should be a multiple of %d", step), ctx)
			return nil
		}
	}
	switch {
	case v.Cmp(new(big.Int).SetUint64(most)) > 0:
		f.report(name, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", most), ctx)
		return nil
	case v.Cmp(least) < 0:
		f.report(name, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", least), ctx)
		return nil
	}
	return v
}

// parseInteger returns nil after a report.
func (f *fields) parseInteger(name string, raw json.RawMessage) *big.Int {
	literal := string(raw)
	switch raw[0] {
	case 't':
		return big.NewInt(1)
	case 'f':
		return new(big.Int)
	case '{', '[':
		f.report(name, "int_type", "Input should be a valid integer", nil)
		return nil
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil || !integerText.MatchString(strings.TrimSpace(s)) {
			f.report(name, "int_parsing", "Input should be a valid integer, unable to parse string as an integer", nil)
			return nil
		}
		literal, _, _ = strings.Cut(strings.ReplaceAll(strings.TrimSpace(s), "_", ""), ".")
	default:
		if integerLiteral.MatchString(literal) {
			break
		}
		x, err := strconv.ParseFloat(literal, 64)
		switch {
		case err != nil: // out of range: the grammar is JSON's
			f.report(name, "finite_number", "Input should be a finite number", nil)
			return nil
		case x != math.Trunc(x):
			f.report(name, "int_from_float", "Input should be a valid integer, got a number with a fractional part", nil)
			return nil
		}
		v, _ := big.NewFloat(x).Int(nil)
		return v
	}
	if len(literal) > maxDigits {
		f.report(name, "int_parsing_size", "Unable to parse input string as an integer, exceeded maximum size", nil)
		return nil
	}
	v, _ := new(big.Int).SetString(literal, 10)
	return v
}

// hasLoneSurrogate finds half a surrogate pair among the \u escapes of a valid JSON string, which encoding/json would replace by U+FFFD.
func hasLoneSurrogate(raw []byte) bool {
	unit := func(i int) uint64 { // of an escape at i, 0 if there is none
		if i+6 > len(raw) || raw[i] != '\\' || raw[i+1] != 'u' {
			return 0
		}
		v, _ := strconv.ParseUint(string(raw[i+2:i+6]), 16, 16)
		return v
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		switch u := unit(i); {
		case u >= 0xdc00 && u < 0xe000:
			return true
		case u >= 0xd800 && u < 0xdc00:
			if low := unit(i + 6); low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 11
		default:
			i++ // the escaped character is no backslash of its own
		}
	}
	return false
}
