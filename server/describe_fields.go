package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/openapi"
)

// fieldDoc says what a field means. Its type, range and default are its parser's.
type fieldDoc struct{ name, text string }

// bodyForm is a body of a route: the function that parses it, by which it is described.
type bodyForm struct {
	parse func(s *Server, x *exchange, f *fields)
	// probes are bodies beside an empty one that lead the parser through all of its branches.
	probes  []string
	docs    []fieldDoc // in the order of the document
	options []sdField  // A1111's table of the fields, which has all of them with their defaults; nil is of others
	example string     // in JSON
}

// read runs a parser on the probes and gives what it reads, as one list.
func (b *bodyForm) read(s *Server) (list []*fieldNote) {
	for i, probe := range append([]string{"{}"}, b.probes...) {
		f, p := parseFields([]byte(probe), "application/json")
		if p != nil { // a probe is JSON
			panic(p.Msg)
		}
		list = mergeNotes(list, notesOf(f, func() { b.parse(s, probing(), f) }), i == 0)
	}
	return list
}

// probing is the exchange of a request that nobody sends.
func probing() *exchange {
	return &exchange{r: (&http.Request{Method: http.MethodPost, Header: http.Header{}}), visitor: visitor{all: true}}
}

// notesOf are the fields that a function reads.
func notesOf(f *fields, parse func()) []*fieldNote {
	f.notes = &fieldNotes{set: map[string]bool{}}
	parse()
	return f.notes.list
}

// mergeNotes adds what one probe has shown to what others have. A field is required if each of them found it so; a
// default that differs is none.
func mergeNotes(list, more []*fieldNote, first bool) []*fieldNote {
	find := func(in []*fieldNote, name string) *fieldNote {
		if i := slices.IndexFunc(in, func(one *fieldNote) bool { return one.name == name }); i >= 0 {
			return in[i]
		}
		return nil
	}
	for _, had := range list {
		if again := find(more, had.name); again == nil || !again.required {
			had.required = false
		}
	}
	for _, one := range more {
		had := find(list, one.name)
		if had == nil {
			one.required = one.required && first
			list = append(list, one)
			continue
		}
		for _, form := range one.forms {
			i := slices.IndexFunc(had.forms, func(other *jsonschema.Schema) bool { return other.Type == form.Type })
			if i < 0 {
				had.forms = append(had.forms, form)
			} else if string(had.forms[i].Default) != string(form.Default) {
				had.forms[i].Default = nil
			}
		}
	}
	return list
}

// schema is what a field may be.
func (n *fieldNote) schema() *jsonschema.Schema {
	switch len(n.forms) {
	case 0:
		return &jsonschema.Schema{}
	case 1:
		return n.forms[0].CloneSchemas()
	}
	return &jsonschema.Schema{AnyOf: n.forms}
}

// describe is the schema of a body. It returns fields without a text, and texts without a field.
func (b *bodyForm) describe(s *Server) (of *jsonschema.Schema, strange []string) {
	of = &jsonschema.Schema{Type: "object", Properties: map[string]*jsonschema.Schema{}}
	read := b.read(s)
	inTable := func(name string) bool {
		return slices.ContainsFunc(b.options, func(o sdField) bool { return o.name == name })
	}
	for _, n := range read {
		if b.options != nil && len(n.forms) == 0 && !inTable(n.name) {
			continue // it is looked at to tell that nothing comes of it
		}
		p := n.schema()
		if n.required {
			of.Required = append(of.Required, n.name)
		} else {
			p = openapi.OrNull(p) // which is as if the field were absent
		}
		if n.alias != "" {
			p.Description = "Another name of " + n.alias + "."
		}
		of.Properties[n.name] = p
	}
	for _, field := range b.options {
		p := of.Properties[field.name]
		if p == nil {
			p = &jsonschema.Schema{}
			of.Properties[field.name] = p
		}
		if p.Default = nil; field.otherwise != "null" {
			p.Default = json.RawMessage(field.otherwise)
		}
	}
	for _, doc := range b.docs {
		p := of.Properties[doc.name]
		if p == nil {
			strange = append(strange, doc.name)
			continue
		}
		p.Description = doc.text
		if example := fieldExamples[doc.name]; example != "" && b.options == nil {
			p.Examples = []any{json.RawMessage(strings.ReplaceAll(example, "ID", exampleID))}
		}
		of.PropertyOrder = append(of.PropertyOrder, doc.name)
	}
	for name, p := range of.Properties {
		switch {
		case p.Description != "":
		case inTable(name):
			p.Description = "A field of A1111's of which nothing comes here."
		default:
			strange = append(strange, name)
		}
	}
	if b.options != nil {
		of.PropertyOrder = nil
		for _, field := range b.options {
			of.PropertyOrder = append(of.PropertyOrder, field.name)
		}
	}
	return of, strange
}
