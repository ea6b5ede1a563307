package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/openapi"
)

// checker checks answers by the document's schemas, in which no field may be that they do not name.
type checker struct {
	t       *testing.T
	schemas map[string]*jsonschema.Schema
}

func newChecker(t *testing.T, d *openapi.Document) *checker {
	t.Helper()
	c := &checker{t, map[string]*jsonschema.Schema{}}
	for name, s := range d.Components.Schemas {
		c.schemas[name] = strict(t, s)
	}
	return c
}

// strict is a schema by itself that refuses fields which it does not name.
func strict(t *testing.T, s *jsonschema.Schema) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var own *jsonschema.Schema
	if err := json.Unmarshal(bytes.ReplaceAll(text, []byte("#/components/schemas/"), []byte("#/$defs/")), &own); err != nil {
		t.Fatal(err)
	}
	var walk func(*jsonschema.Schema)
	walk = func(s *jsonschema.Schema) {
		if s == nil {
			return
		}
		if len(s.Properties) > 0 {
			s.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
		}
		for _, p := range s.Properties {
			walk(p)
		}
		walk(s.Items)
		for _, one := range s.AnyOf {
			walk(one)
		}
	}
	walk(own)
	return own
}

// check is the error of JSON that a schema does not let through.
func (c *checker) check(s *jsonschema.Schema, text []byte) error {
	c.t.Helper()
	root := strict(c.t, s)
	if root.Ref != "" {
		root = &jsonschema.Schema{AllOf: []*jsonschema.Schema{root}}
	}
	root.Defs = map[string]*jsonschema.Schema{}
	for name, s := range c.schemas {
		root.Defs[name] = s.CloneSchemas()
	}
	resolved, err := root.Resolve(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	return resolved.Validate(v)
}

// answers to requests that the document gives as examples are as it says.
func TestDocumentExamples(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Metrics, c.Schedulers = true, append(c.Schedulers, "k_euler") })
	d, _ := described(t, b)
	c := newChecker(t, d)
	image := decodeUpload(t, b.upload("image/png", tinyPNG(t)))
	made := id(t, b.do("POST", "/generate", `{"prompt":"a","prompt_style":"a1111","negative_prompt":"b","original_size":[64,96],"eta":0.5,"scheduler":"ddim"}`))
	job := b.finished(t, b.postJob(t, `{"prompt":"a","task":"ensemble"}`).ID)
	answered, examples := 0, map[string]bool{}
	for path, methods := range d.Paths {
		for method, op := range methods {
			with := strings.NewReplacer("{id}", job.ID, "{file}", "style.css")
			switch {
			case strings.HasPrefix(path, "/download/"):
				with = strings.NewReplacer("{id}", made)
			case strings.HasPrefix(path, "/v1/models/"):
				with = strings.NewReplacer("{id}", "fake-base")
			case path == "/docs/{file}":
				with = strings.NewReplacer("{file}", "docs.css")
			case method == "delete": // below
				continue
			}
			w := httptest.NewRecorder()
			r := httptest.NewRequest(strings.ToUpper(method), with.Replace(path), nil)
			if op.Body != nil {
				m, ok := op.Body.Content["application/json"]
				text, _ := m.Example.(json.RawMessage)
				kind := "application/json"
				if !ok {
					text, kind = tinyPNG(t), "image/png"
				} else if err := c.check(m.Schema, text); err != nil {
					t.Errorf("the example of %s %s: %v", method, path, err)
				}
				eachField(m.Schema, func(name string, of *jsonschema.Schema) {
					for _, example := range of.Examples {
						if raw, is := example.(json.RawMessage); is {
							if examples[name] = true; c.check(of, raw) != nil {
								t.Errorf("the example of %s of %s %s: %v", name, method, path, c.check(of, raw))
							}
						}
					}
				})
				text = bytes.ReplaceAll(text, []byte(exampleID), []byte(image))
				r = httptest.NewRequest(strings.ToUpper(method), path, bytes.NewReader(text))
				r.Header.Set("Content-Type", kind)
			}
			b.ServeHTTP(w, r)
			answered++
			if err := c.answer(op, w); err != nil {
				t.Errorf("%s %s: %v\n%.300s", method, path, err, w.Body)
			}
			if w.Code >= 400 && path != "/sdapi/v1/interrogate" {
				t.Errorf("%s %s with its example: %d %.300s", method, path, w.Code, w.Body)
			}
		}
	}
	if len(examples) < len(fieldExamples) {
		t.Errorf("examples of the fields %v alone", examples)
	}
	if answered < 50 {
		t.Errorf("%d operations were tried", answered)
	}
	for path, want := range map[string]int{"/v1/jobs/" + job.ID: 200, "/v1/jobs/" + job.ID + "?purge=true": 204, "/v1/session": 204} {
		w := b.do("DELETE", path, "")
		documented := "/v1/jobs/{id}"
		if path == "/v1/session" {
			documented = path
		}
		if err := c.answer(d.Paths[documented]["delete"], w); err != nil || w.Code != want && w.Code != 404 {
			t.Errorf("DELETE %s: %d, %v", path, w.Code, err)
		}
	}
}

// answer is the error of an answer that the document does not tell of.
func (c *checker) answer(op *openapi.Operation, w *httptest.ResponseRecorder) error {
	c.t.Helper()
	r := op.Responses[strconv.Itoa(w.Code)]
	if r == nil {
		return fmt.Errorf("the status %d is none of the document's", w.Code)
	}
	kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	m, ok := r.Content[kind]
	if _, any := r.Content["*/*"]; !ok && !any && len(r.Content) > 0 {
		return fmt.Errorf("the type %q is none of the document's", kind)
	}
	switch {
	case kind == "application/json" && len(r.Content) > 0:
		return c.check(m.Schema, w.Body.Bytes())
	case kind == "text/event-stream":
		return c.events(m.Events, w.Body.String())
	}
	return nil
}

// events is the error of a stream of events, of which one at least must be.
func (c *checker) events(types map[string]*jsonschema.Schema, stream string) error {
	c.t.Helper()
	n := 0
	for block := range strings.SplitSeq(stream, "\n\n") {
		_, rest, found := strings.Cut(block, "event: ")
		name, data, _ := strings.Cut(rest, "\ndata: ")
		if !found {
			continue
		}
		if types[name] == nil {
			return fmt.Errorf("the event %q is none of the document's", name)
		}
		if err := c.check(types[name], []byte(data)); err != nil {
			return fmt.Errorf("the event %s: %v", name, err)
		}
		n++
	}
	if n == 0 {
		return fmt.Errorf("there are no events in %q", stream)
	}
	return nil
}

// Streams, and answers to what can't be used, are as the document says, in each API's form.
func TestDocumentFaults(t *testing.T) {
	b := loadedBench(t, nil)
	d, _ := described(t, b)
	c := newChecker(t, d)
	file := part{"image", "a.png", string(tinyPNG(t))}
	foreign := map[string]string{"Sec-Fetch-Site": "cross-site"}
	for _, one := range []struct {
		path, method string
		w            *httptest.ResponseRecorder
		status       int
	}{
		{"/generate", "post", b.do("POST", "/generate", `{"width":1,"seed":[]}`), 422},
		{"/generate", "post", b.do("POST", "/generate", `{`), 422},
		{"/refine", "post", b.do("POST", "/refine", `{"id":"x","prompt":"a"}`), 404},
		{"/v1/jobs/{id}", "get", b.do("GET", "/v1/jobs/x", ""), 404},
		{"/v1/jobs", "get", b.do("GET", "/v1/jobs?limit=x", ""), 422},
		{"/v1/images", "post", b.upload("text/plain", []byte("a")), 415},
		{"/v1/images/generations", "post", b.do("POST", "/v1/images/generations", `{"prompt":"a","n":99}`), 400},
		{"/v1/images/generations", "post", b.do("POST", "/v1/images/generations", `{"prompt":"a","model":"x"}`), 404},
		{"/v1/images/generations", "post", b.do("POST", "/v1/images/generations", `{"prompt":"a","stream":true}`), 200},
		{"/v1/images/edits", "post", b.postForm(t, nil, file, part{"prompt", "", "a"}), 200},
		{"/v1/images/edits", "post", b.postForm(t, foreign, file, part{"prompt", "", "a"}), 403},
		{"/v1/models/{id}", "get", b.do("GET", "/v1/models/x", ""), 404},
		{"/sdapi/v1/txt2img", "post", b.do("POST", "/sdapi/v1/txt2img", `{"steps":0}`), 422},
		{"/sdapi/v1/txt2img", "post", b.do("POST", "/sdapi/v1/txt2img", `{"sampler_name":"x"}`), 400},
		{"/sdapi/v1/txt2img", "post", b.do("POST", "/sdapi/v1/txt2img", `{"tiling":true}`), 501},
		{"/metrics", "get", b.do("GET", "/metrics", ""), 404},
	} {
		if err := c.answer(d.Paths[one.path][one.method], one.w); err != nil || one.w.Code != one.status {
			t.Errorf("%s %s: %d, want %d: %v\n%.300s", one.method, one.path, one.w.Code, one.status, err, one.w.Body)
		}
	}
}
