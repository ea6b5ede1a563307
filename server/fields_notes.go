package server

import (
	"encoding/json"
	"math"
	"math/big"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"
)

// fieldNotes are what a parser reads: the methods of fields, which read a field, note it here too, so that the OpenAPI
// document has the names, types, ranges and defaults by which bodies are parsed. A nil *fieldNotes notes nothing.
type fieldNotes struct {
	list []*fieldNote
	set  map[string]bool // fields that the server gave itself, which are no client's from then on
}

// fieldNote is a field that was read.
type fieldNote struct {
	name     string
	alias    string               // the field that this is another name of
	forms    []*jsonschema.Schema // one of each type, in the order in which they were read; none of a field of any form
	required bool
}

// of is the note of a field, nil if it is no client's.
func (n *fieldNotes) of(name string) *fieldNote {
	if n == nil || n.set[name] {
		return nil
	}
	for _, one := range n.list {
		if one.name == name {
			return one
		}
	}
	one := &fieldNote{name: name}
	n.list = append(n.list, one)
	return one
}

// form notes that a field is read as a schema says. What is read first of a type counts: a parser that reads a field
// again takes no more.
func (n *fieldNotes) form(name string, s *jsonschema.Schema) {
	one := n.of(name)
	if one == nil || slices.ContainsFunc(one.forms, func(other *jsonschema.Schema) bool { return other.Type == s.Type }) {
		return
	}
	one.forms = append(one.forms, s)
}

// need notes that a request without the field is refused.
func (n *fieldNotes) need(name string) {
	if one := n.of(name); one != nil {
		one.required = true
	}
}

// anotherName notes that a field is read as another one is.
func (n *fieldNotes) anotherName(name, of string) {
	if one := n.of(name); one != nil {
		one.alias = of
	}
}

func (n *fieldNotes) words(name string, words []string) {
	if n == nil {
		return
	}
	n.form(name, &jsonschema.Schema{Type: "string", Enum: values(words)})
}

// values are words as a schema lists them.
func values[T any](words []T) (list []any) {
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

// integer notes a whole number; otherwise, where it is in the range, is the value of a field that is not there.
func (n *fieldNotes) integer(name string, least *big.Int, most, step uint64, otherwise *big.Int) {
	if n == nil {
		return
	}
	low, _ := least.Float64()
	s := &jsonschema.Schema{Type: "integer", Minimum: &low}
	if most <= 1<<53 {
		s.Maximum = new(float64(most))
	} else { // which readers of JSON may not have: the next number that they have
		s.ExclusiveMaximum = new(float64(most))
		if new(big.Float).SetUint64(most).Cmp(big.NewFloat(*s.ExclusiveMaximum)) == 0 {
			*s.ExclusiveMaximum = math.Nextafter(float64(most), math.Inf(1))
		}
	}
	if step > 0 {
		s.MultipleOf = new(float64(step))
	}
	if otherwise != nil && otherwise.Cmp(least) >= 0 {
		s.Default = json.RawMessage(otherwise.String())
	}
	n.form(name, s)
}

// number is integer of any number.
func (n *fieldNotes) number(name string, i interval, otherwise *float64) {
	if n == nil {
		return
	}
	s := &jsonschema.Schema{Type: "number"}
	i.limit(s)
	if otherwise != nil && (*otherwise > i.min || *otherwise == i.min && !i.aboveMin) {
		s.Default, _ = json.Marshal(*otherwise) // a default is finite
	}
	n.form(name, s)
}

// limit gives a schema the ends of an interval.
func (i interval) limit(s *jsonschema.Schema) {
	if i.aboveMin {
		s.ExclusiveMinimum = &i.min
	} else {
		s.Minimum = &i.min
	}
	if i.belowMax {
		s.ExclusiveMaximum = &i.max
	} else {
		s.Maximum = &i.max
	}
}

func (n *fieldNotes) boolean(name string, otherwise bool) {
	if n != nil {
		s := &jsonschema.Schema{Type: "boolean"}
		s.Default, _ = json.Marshal(otherwise)
		n.form(name, s)
	}
}

// items notes a list whose items are as a schema says; nil is any.
func (n *fieldNotes) items(name string, least, most int, item *jsonschema.Schema) {
	if n == nil {
		return
	}
	s := &jsonschema.Schema{Type: "array", Items: item, MaxItems: &most}
	if least > 0 {
		s.MinItems = &least
	}
	n.form(name, s)
}
