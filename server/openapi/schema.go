package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// refPrefix is what references to schemas of a document begin with.
const refPrefix = "#/components/schemas/"

// Ref is a reference to a named schema.
func Ref(name string) *jsonschema.Schema { return &jsonschema.Schema{Ref: refPrefix + name} }

// Named is the name that a schema refers to, "" if it has its own words.
func Named(s *jsonschema.Schema) string {
	name, ok := strings.CutPrefix(s.Ref, refPrefix)
	if !ok {
		return ""
	}
	return name
}

// Types give the schemas of Go types as encoding/json writes them.
type Types struct {
	// Names are the types whose schemas stand among the components, by reference everywhere else.
	Names map[string]reflect.Type
	// Forms are those of types that the field of a struct does not tell: enumerations, and what writes its own JSON.
	Forms map[reflect.Type]*jsonschema.Schema
}

// Of is the schema of a type: a reference where it has a name.
func (t *Types) Of(of reflect.Type) (*jsonschema.Schema, error) {
	forms := maps.Clone(t.Forms)
	if forms == nil {
		forms = map[reflect.Type]*jsonschema.Schema{}
	}
	if _, own := forms[reflect.TypeFor[json.RawMessage]()]; !own {
		forms[reflect.TypeFor[json.RawMessage]()] = &jsonschema.Schema{} // any JSON
	}
	for name, named := range t.Names {
		forms[named] = Ref(name)
	}
	s, err := jsonschema.ForType(of, &jsonschema.ForOptions{TypeSchemas: forms})
	if err != nil {
		return nil, fmt.Errorf("openapi: schema of %v: %w", of, err)
	}
	tidy(s)
	return s, nil
}

// Components are the schemas of the types with names.
func (t *Types) Components() (map[string]*jsonschema.Schema, error) {
	all := map[string]*jsonschema.Schema{}
	for name, of := range t.Names {
		// A struct without a name of its own has the same fields, of which one may be of this type again.
		plain := of
		if of.Kind() == reflect.Struct {
			plain = reflect.StructOf(reflect.VisibleFields(of))
		}
		s, err := t.Of(plain)
		if err != nil {
			return nil, err
		}
		all[name] = s
	}
	return all, nil
}

// tidy makes a schema say what this server writes, of which inference knows less: a list is never null, a field that
// may be left out is left out in place of null, and clients have to live with fields that are new.
func tidy(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		s.Types = nil
		return
	}
	if slices.Equal(s.Types, []string{"null", "array"}) { // as inferred; a form that means it has them the other way round
		notNull(s)
	}
	for name, p := range s.Properties {
		if !slices.Contains(s.Required, name) {
			notNull(p)
		}
		tidy(p)
	}
	tidy(s.Items)
	if s.AdditionalProperties = unlessFalse(s.AdditionalProperties); s.AdditionalProperties != nil {
		tidy(s.AdditionalProperties)
	}
	for _, one := range slices.Concat(s.AnyOf, s.PrefixItems) {
		tidy(one)
	}
}

// notNull takes null from the types that a value may have.
func notNull(s *jsonschema.Schema) {
	s.Types = slices.DeleteFunc(slices.Clone(s.Types), func(one string) bool { return one == "null" })
	switch len(s.Types) {
	case 1:
		s.Type, s.Types = s.Types[0], nil
	case 0:
		s.Types = nil
	}
}

// unlessFalse is a schema that lets something through, nil of one that does not.
func unlessFalse(s *jsonschema.Schema) *jsonschema.Schema {
	if s != nil && s.Not != nil {
		return nil
	}
	return s
}

// OrNull lets a schema have null too.
func OrNull(s *jsonschema.Schema) *jsonschema.Schema {
	n := s.CloneSchemas()
	switch {
	case len(n.AnyOf) > 0:
		n.AnyOf = append(slices.Clone(n.AnyOf), &jsonschema.Schema{Type: "null"})
	case n.Type != "":
		n.Types, n.Type = []string{n.Type, "null"}, ""
		if n.Enum != nil {
			n.Enum = append(slices.Clone(n.Enum), nil)
		}
	}
	return n
}
