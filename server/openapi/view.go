package openapi

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// view is a document as the page shows it.
type view struct {
	Info   Info
	Token  bool // requests need one
	Groups []group
	Types  []named
}

type group struct {
	Tag
	Operations []shown
}

// shown is an operation.
type shown struct {
	*Operation
	Method, Path string
	Open         bool // needs no token, where others do
	Bodies       []body
	Answers      []answer
	Example      string // a command line
}

type body struct {
	Media  string
	Fields []field
	Type   text // of what has no fields
}

type answer struct {
	Status, About string
	Headers       []string
	Media         []media
}

type media struct {
	Name   string
	Type   text
	Events []field
}

type named struct {
	Name   string
	Fields []field
	Type   text
}

// field is one of an object, or a parameter.
type field struct {
	Name, In, About string
	Required        bool
	Type            text
	Values          []string // of which it is one
	Examples        []string // of values, where there are more
	Default         string
}

// text is words, and names of the document's types, to which the page links.
type text []piece

type piece struct{ Words, Link string }

func words(w string) text { return text{{Words: w}} }

func newView(d *Document, base string) *view {
	v := &view{Info: d.Info, Token: len(d.Security) > 0}
	for _, tag := range d.Tags {
		g := group{Tag: tag}
		for path, methods := range d.Paths {
			for method, op := range methods {
				if slices.Contains(op.Tags, tag.Name) {
					g.Operations = append(g.Operations, show(op, method, path, base, v.Token))
				}
			}
		}
		slices.SortFunc(g.Operations, func(a, b shown) int { return cmp.Compare(a.Position, b.Position) })
		v.Groups = append(v.Groups, g)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		s := d.Components.Schemas[name]
		v.Types = append(v.Types, named{Name: name, Fields: fieldsOf(s), Type: describe(s)})
	}
	return v
}

func show(op *Operation, method, path, base string, token bool) shown {
	o := shown{Operation: op, Method: strings.ToUpper(method), Path: path, Open: token && op.Security != nil && len(op.Security) == 0}
	if op.Body != nil {
		var files []string
		for _, name := range slices.Sorted(maps.Keys(op.Body.Content)) {
			if s := op.Body.Content[name].Schema; s.Format == "binary" {
				files = append(files, name)
			} else {
				o.Bodies = append(o.Bodies, body{Media: name, Fields: fieldsOf(s), Type: describe(s)})
			}
		}
		if files != nil {
			o.Bodies = append(o.Bodies, body{Media: strings.Join(files, ", "), Type: words("A file.")})
		}
	}
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		r := op.Responses[status]
		a := answer{Status: status, About: r.Description, Headers: slices.Sorted(maps.Keys(r.Headers))}
		for _, name := range slices.Sorted(maps.Keys(r.Content)) {
			m := media{Name: name, Type: describe(r.Content[name].Schema)}
			switch {
			case name == "application/json" && slices.ContainsFunc(m.Type, func(p piece) bool { return p.Link != "" }):
				m.Name = "" // of which most answers are
			case r.Content[name].Schema.Format == "binary", r.Content[name].Events != nil:
				m.Type = nil
			}
			for _, event := range slices.Sorted(maps.Keys(r.Content[name].Events)) {
				m.Events = append(m.Events, field{Name: event, Type: describe(r.Content[name].Events[event])})
			}
			a.Media = append(a.Media, m)
		}
		o.Answers = append(o.Answers, a)
	}
	o.Example = o.command(base, token && !o.Open)
	return o
}

// command is a command line of curl.
func (o *shown) command(base string, token bool) string {
	path := o.Path
	for _, p := range o.Parameters {
		if p.In == "path" {
			path = strings.ReplaceAll(path, "{"+p.Name+"}", fmt.Sprint(cmp.Or[any](p.Example, strings.ToUpper(p.Name))))
		}
	}
	parts := []string{"curl " + quote(base+path)}
	if token {
		parts = append(parts, `-H "Authorization: Bearer $TOKEN"`)
	}
	switch example := o.jsonExample(); {
	case o.Curl != "":
		parts = append(parts, o.Curl)
	case example != "":
		parts = append(parts, "--json "+quote(example))
	case o.Method != "GET":
		parts = append(parts, "-X "+o.Method)
	}
	return strings.Join(parts, " \\\n  ")
}

// jsonExample is that of a JSON body, "" if there is none.
func (o *shown) jsonExample() string {
	if o.Body == nil {
		return ""
	}
	raw, _ := o.Body.Content["application/json"].Example.(json.RawMessage)
	return string(raw)
}

// quote is a word of a shell.
func quote(word string) string {
	if strings.Trim(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/._-") == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// fieldsOf are the fields of an object, in their order.
func fieldsOf(s *jsonschema.Schema) (list []field) {
	names := slices.Clone(s.PropertyOrder)
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		p := s.Properties[name]
		if p == nil {
			continue
		}
		list = append(list, fieldOf(name, p, slices.Contains(s.Required, name)))
	}
	return list
}

func fieldOf(name string, s *jsonschema.Schema, required bool) field {
	f := field{Name: name, About: s.Description, Required: required, Type: describe(s), Default: string(s.Default)}
	for _, v := range s.Enum {
		if v != nil {
			f.Values = append(f.Values, fmt.Sprint(v))
		}
	}
	for _, v := range s.Examples {
		if raw, is := v.(json.RawMessage); is {
			v = string(raw)
		}
		f.Examples = append(f.Examples, fmt.Sprint(v))
	}
	return f
}

// Fields are the parameters as fields.
func (o *shown) Fields() (list []field) {
	for _, p := range o.Parameters {
		f := fieldOf(p.Name, p.Schema, p.Required)
		f.In, f.About = p.In, p.Description
		list = append(list, f)
	}
	return list
}

// describe says in words what a schema lets through. Null is as if a field were absent, and is left out.
func describe(s *jsonschema.Schema) text {
	if name := Named(s); name != "" {
		return text{{Link: name}}
	}
	if len(s.AnyOf) > 0 {
		var all text
		var seen []text
		for _, one := range s.AnyOf {
			t := describe(one)
			if one.Type == "null" || slices.ContainsFunc(seen, func(other text) bool { return slices.Equal(other, t) }) {
				continue
			}
			if seen = append(seen, t); all != nil {
				all = append(all, piece{Words: " or "})
			}
			all = append(all, t...)
		}
		return all
	}
	kind := s.Type
	for _, t := range s.Types {
		if t != "null" {
			kind = t
		}
	}
	switch {
	case kind == "array" && s.Items != nil:
		return append(words("list of "), plural(describe(s.Items))...)
	case kind == "object" && s.AdditionalProperties != nil:
		return append(words("object of "), describe(s.AdditionalProperties)...)
	case kind == "":
		return words("any")
	case s.Format != "":
		kind = s.Format
	}
	return words(kind + bounds(s))
}

// plural is for many of a type.
func plural(t text) text {
	if len(t) != 1 || t[0].Link != "" {
		return t
	}
	kind, rest, found := strings.Cut(t[0].Words, ",")
	if kind == "any" {
		return t
	}
	if kind += "s"; found {
		kind += ","
	}
	return words(kind + rest)
}

// number is a limit in few digits: a power of two, or as it is.
func number(x float64) string {
	if fraction, exponent := math.Frexp(x); fraction == 0.5 && exponent > 53 {
		return fmt.Sprintf("2^%d", exponent-1)
	}
	return strconv.FormatFloat(x, 'g', 15, 64)
}

// bounds are the ends of a range.
func bounds(s *jsonschema.Schema) string {
	var b string
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		b = ", " + number(*s.Minimum) + " to " + number(*s.Maximum)
	case s.ExclusiveMinimum != nil && s.Maximum != nil:
		b = ", above " + number(*s.ExclusiveMinimum) + " to " + number(*s.Maximum)
	case s.ExclusiveMinimum != nil && s.ExclusiveMaximum != nil:
		b = ", between " + number(*s.ExclusiveMinimum) + " and " + number(*s.ExclusiveMaximum)
	case s.Minimum != nil && s.ExclusiveMaximum != nil:
		b = ", from " + number(*s.Minimum) + " and below " + number(*s.ExclusiveMaximum)
	case s.Minimum != nil:
		b = ", from " + number(*s.Minimum)
	}
	if s.MultipleOf != nil {
		b += ", a multiple of " + number(*s.MultipleOf)
	}
	return b
}

// anchor is the id of an element of the page.
func anchor(kind, name string) string { return kind + "-" + name }
