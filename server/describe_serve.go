package server

import (
	"bytes"
	"encoding/json"
	"html/template"
	"regexp"
	"sync"

	"github.com/goxl/goxl/server/openapi"
)

// apiDocs are the document and its page as they were made last. To make them takes some 10 ms. The zero value is ready.
type apiDocs struct {
	mu             sync.Mutex
	of             docsOf
	document, page []byte // nil until they were made
}

// docsOf is what they depend on beside Config: the limits follow the speed of the devices.
type docsOf struct {
	prefix        string
	pixels, steps int
}

// anyBase stands in the page for the URL that paths begin with, which each client has its own of.
const anyBase = "http://goxl.invalid"

// apiDocs makes the document and the page, or gives those of before.
func (s *Server) apiDocs(x *exchange) (document, page []byte, err error) {
	of := docsOf{x.from.prefix, s.maxPixels(s.costs.of(s.config.allModels()[0].Name)), s.mostSteps()}
	c := &s.made
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.page != nil && c.of == of {
		return c.document, c.page, nil
	}
	d, _, err := s.document(of.prefix)
	if err != nil {
		return nil, nil, err
	}
	if document, err = json.Marshal(d); err != nil {
		return nil, nil, err
	}
	if page, err = openapi.Page(d, anyBase); err != nil {
		return nil, nil, err
	}
	c.of, c.document, c.page = of, document, page
	return document, page, nil
}

// openAPI answers GET /openapi.json.
func (s *Server) openAPI(x *exchange) error {
	document, _, err := s.apiDocs(x)
	if err != nil {
		return err
	}
	openapi.Serve(&contentWriter{exchange: x}, x.r, "openapi.json", document)
	return nil
}

// plainBase is a URL that a shell takes as it is.
var plainBase = regexp.MustCompile(`^https?://[A-Za-z0-9._:/~-]+$`)

// docs answers GET /docs, and GET /docs/{file} with what it loads.
func (s *Server) docs(x *exchange) error {
	if file := x.r.PathValue("file"); file != "" {
		if !openapi.ServeFile(&contentWriter{exchange: x}, x.r, file) {
			return &failure{kind: notFound}
		}
		return nil
	}
	_, page, err := s.apiDocs(x)
	if err != nil {
		return err
	}
	base := absolute(x, "")
	if !plainBase.MatchString(base) {
		base = "http://localhost:8000" + x.from.prefix
	}
	page = bytes.ReplaceAll(page, []byte(anyBase), []byte(template.HTMLEscapeString(base)))
	openapi.Serve(&contentWriter{exchange: x}, x.r, "index.html", page)
	return nil
}
