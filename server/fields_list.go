package server

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// isList reports whether an optional field is a list.
func (f *fields) isList(name string) bool {
	raw := f.given(name)
	return raw != nil && raw[0] == '['
}

// items reads a list of up to most items. It returns nil after a report, and where there is none.
func (f *fields) items(name string, most int) (list []json.RawMessage) {
	f.notes.items(name, 0, most, nil)
	raw := f.given(name)
	switch {
	case raw == nil:
	case raw[0] != '[' || json.Unmarshal(raw, &list) != nil:
		f.report(name, "list_type", "Input should be a valid list", nil)
	case len(list) > most:
		f.report(name, "too_long", fmt.Sprintf("List should have at most %d items after validation, not %d", most, len(list)),
			map[string]any{"field_type": "List", "max_length": most, "actual_length": len(list)})
		return nil
	}
	return list
}

// item reads one item of a list by a method of fields, under the list's name. What is reported of it has its index.
func (f *fields) item(name string, index int, raw json.RawMessage, kind, noun string, read func(*fields)) {
	one := &fields{values: map[string]json.RawMessage{name: raw}, path: f.path}
	if string(raw) == "null" { // an item can't be absent
		one.report(name, kind, "Input should be a valid "+noun, nil)
	} else {
		read(one)
	}
	for _, p := range one.problems {
		p.Loc = append(p.Loc, index)
		f.problems = append(f.problems, p)
	}
}

// numbers reads a list of up to most numbers in an interval, each as number does; nil where there is none.
func (f *fields) numbers(name string, most int, within interval) (values []float64) {
	item := &jsonschema.Schema{Type: "number"}
	within.limit(item)
	f.notes.items(name, 1, most, item)
	for i, raw := range f.items(name, most) {
		f.item(name, i, raw, "float_type", "number", func(one *fields) { values = append(values, one.number(name, within, 0)) })
	}
	if f.isList(name) && string(f.given(name)) == "[]" {
		f.tooShort(name, 1, 0)
	}
	return values
}

// tooShort reports a list with too few items.
func (f *fields) tooShort(name string, least, have int) {
	items := "item"
	if least > 1 {
		items = "items"
	}
	f.report(name, "too_short", fmt.Sprintf("List should have at least %d %s after validation, not %d", least, items, have),
		map[string]any{"field_type": "List", "min_length": least, "actual_length": have})
}

// itemsExactly is items of a list that has so many.
func (f *fields) itemsExactly(name string, n int) []json.RawMessage {
	list := f.items(name, n)
	if list != nil && len(list) < n {
		f.tooShort(name, n, len(list))
		return nil
	}
	return list
}

// pair reads a list of two whole numbers within limits; 0, 0 where there is none.
func (f *fields) pair(name string, l limits) (first, second int) {
	f.notes.items(name, 2, 2, &jsonschema.Schema{Type: "integer", Minimum: new(float64(l.min)), Maximum: new(float64(l.max))})
	list := f.itemsExactly(name, 2)
	if list == nil {
		return 0, 0
	}
	for i, into := range []*int{&first, &second} {
		f.item(name, i, list[i], "int_type", "integer", func(one *fields) { *into = int(one.integer(name, l, 0)) })
	}
	return first, second
}

// boolean reads true or false, or what pydantic takes for them. It returns otherwise where there is none.
func (f *fields) boolean(name string, otherwise bool) bool {
	f.notes.boolean(name, otherwise)
	raw := f.given(name)
	if raw == nil {
		return otherwise
	}
	text := string(raw)
	if raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
		text = ""
	}
	switch strings.ToLower(text) {
	case "true", "1", "1.0", "t", "y", "yes", "on":
		return true
	case "false", "0", "0.0", "f", "n", "no", "off":
		return false
	}
	if raw[0] == '{' || raw[0] == '[' {
		f.report(name, "bool_type", "Input should be a valid boolean", nil)
	} else {
		f.report(name, "bool_parsing", "Input should be a valid boolean, unable to interpret input", nil)
	}
	return otherwise
}
