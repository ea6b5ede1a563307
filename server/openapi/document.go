// Package openapi is the form of an OpenAPI 3.1 document, as far as a server needs it to describe itself, the schemas
// of Go types in it, and a page that shows a document to people.
//
// Schemas are google/jsonschema-go's, which infers them from types and validates by them, on the standard library
// alone. Frameworks that make documents of their own (huma, swaggest/openapi-go) want to parse the bodies too, or a
// second description beside the parsers.
package openapi

import (
	"github.com/google/jsonschema-go/jsonschema"
)

// Version is that of OpenAPI.
const Version = "3.1.1"

// Document describes a server.
type Document struct {
	OpenAPI    string                           `json:"openapi"`
	Info       Info                             `json:"info"`
	Servers    []Server                         `json:"servers,omitempty"`
	Security   []Requirement                    `json:"security,omitempty"`
	Tags       []Tag                            `json:"tags,omitempty"`
	Paths      map[string]map[string]*Operation `json:"paths"` // by method in lower case
	Components Components                       `json:"components"`
}

// Info is about the whole server.
type Info struct {
	Title       string  `json:"title"`
	Summary     string  `json:"summary,omitempty"`
	Description string  `json:"description,omitempty"`
	License     License `json:"license,omitzero"`
	Version     string  `json:"version"`
}

// License is that of the program.
type License struct {
	Name       string `json:"name"`
	Identifier string `json:"identifier,omitempty"` // SPDX's
}

// Server is where the paths begin.
type Server struct {
	URL string `json:"url"` // may be relative to the document's own
}

// Tag is a group of operations.
type Tag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// Requirement is a security scheme that lets a request in, with scopes, of which there are none here.
type Requirement map[string][]string

// Components are what others refer to by name.
type Components struct {
	Schemas         map[string]*jsonschema.Schema `json:"schemas,omitempty"`
	SecuritySchemes map[string]SecurityScheme     `json:"securitySchemes,omitempty"`
}

// SecurityScheme is how a request says who sends it.
type SecurityScheme struct {
	Type        string `json:"type"`
	Scheme      string `json:"scheme,omitempty"` // of type http
	In          string `json:"in,omitempty"`     // of type apiKey, and the name
	Name        string `json:"name,omitempty"`
	Description string `json:"description,omitempty"`
}

// Operation is a method of a path.
type Operation struct {
	ID          string               `json:"operationId"`
	Tags        []string             `json:"tags,omitempty"`
	Summary     string               `json:"summary"`
	Description string               `json:"description,omitempty"`
	Parameters  []Parameter          `json:"parameters,omitempty"`
	Body        *Body                `json:"requestBody,omitempty"`
	Responses   map[string]*Response `json:"responses"`         // by status
	Security    []Requirement        `json:"security,omitzero"` // nil is the document's; empty is none

	Position int    `json:"-"` // among those of the page
	Curl     string `json:"-"` // arguments of curl beside the URL, for the page; "" is made of the body's example
}

// Parameter is a part of a path or query, or a header.
type Parameter struct {
	Name        string             `json:"name"`
	In          string             `json:"in"` // "path", "query" or "header"
	Description string             `json:"description,omitempty"`
	Required    bool               `json:"required,omitempty"`
	Schema      *jsonschema.Schema `json:"schema"`
	Example     any                `json:"example,omitempty"`
}

// Body is what comes with a request.
type Body struct {
	Description string           `json:"description,omitempty"`
	Required    bool             `json:"required,omitempty"`
	Content     map[string]Media `json:"content"` // by media type
}

// Media is a body of one media type.
type Media struct {
	Schema  *jsonschema.Schema `json:"schema"`
	Example any                `json:"example,omitempty"`
	// Events are the types of server-sent events with the schemas of their data, for which OpenAPI 3.1 has no form.
	Events map[string]*jsonschema.Schema `json:"x-events,omitempty"`
}

// Response is an answer.
type Response struct {
	Description string            `json:"description"`
	Headers     map[string]Header `json:"headers,omitempty"`
	Content     map[string]Media  `json:"content,omitempty"`
}

// Header is one of an answer.
type Header struct {
	Description string             `json:"description,omitempty"`
	Schema      *jsonschema.Schema `json:"schema"`
}

// Add gives a response a body.
func (r *Response) Add(media string, m Media) {
	if r.Content == nil {
		r.Content = map[string]Media{}
	}
	r.Content[media] = m
}
