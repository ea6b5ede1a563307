package server

import (
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
)

// object reads an object by a function that reads its members; it is not called where there is none.
func (f *fields) object(name string, docs []fieldDoc, read func(*fields)) {
	f.notes.form(name, f.notes.objectOf(docs, read))
	if raw := f.given(name); raw != nil {
		f.members(raw, []any{name}, read)
	}
}

// objects reads a list of up to most objects, each by a function that reads its members. One object alone is a list of it.
func (f *fields) objects(name string, most int, docs []fieldDoc, read func(i int, one *fields)) {
	of := f.notes.objectOf(docs, func(one *fields) { read(0, one) })
	f.notes.items(name, 0, most, of)
	f.notes.form(name, of)
	if raw := f.given(name); raw != nil && raw[0] == '{' {
		f.members(raw, []any{name}, func(one *fields) { read(0, one) })
		return
	}
	for i, raw := range f.items(name, most) {
		f.members(raw, []any{name, i}, func(one *fields) { read(i, one) })
	}
}

// members reads the members of an object. What is reported of them has its place.
func (f *fields) members(raw json.RawMessage, place []any, read func(*fields)) {
	one := &fields{whole: raw, from: f.from, path: append(f.path[:len(f.path):len(f.path)], place...)}
	if raw[0] != '{' || json.Unmarshal(raw, &one.values) != nil {
		p := notAnObject(quoted(raw))
		p.Loc = f.place(place[0].(string))
		p.Loc = append(p.Loc, place[1:]...)
		f.problems = append(f.problems, *p)
		return
	}
	given := one.givenNames()
	read(one)
	f.problems = append(f.problems, one.problems...)
	for _, name := range given {
		if !one.used[name] {
			f.strange = append(f.strange, pathText(one.path)+"."+name)
		}
	}
	f.strange = append(f.strange, one.strange...)
}

// objectOf is the schema of an object by the members that a function reads.
func (n *fieldNotes) objectOf(docs []fieldDoc, read func(*fields)) *jsonschema.Schema {
	if n == nil {
		return nil
	}
	of := bodyForm{parse: func(_ *Server, _ *exchange, f *fields) { read(f) }, docs: docs}
	s, strange := of.describe(nil)
	if len(strange) > 0 {
		s.Description = fmt.Sprintf("%s %v", strangeMembers, strange)
	}
	return s
}

// strangeMembers begins the description of an object of which docs and members are not the same.
const strangeMembers = "not described, or described and not read:"
