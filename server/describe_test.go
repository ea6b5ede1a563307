package server

import (
	"encoding/json"
	"fmt"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/openapi"
)

// described is the document of a server, as a client reads it and as it is made.
func described(t *testing.T, b *bench) (d *openapi.Document, text []byte) {
	t.Helper()
	d, strange, err := b.document("")
	if err != nil {
		t.Fatal(err)
	}
	if len(strange) > 0 {
		t.Errorf("fields without a description, or descriptions of no field: %v", strange)
	}
	w := b.do("GET", "/openapi.json", "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	return d, w.Body.Bytes()
}

// Every route is in the document, and nothing else is.
func TestDocumentRoutes(t *testing.T) {
	b := newBench(t, nil)
	var routes, documented []string
	for _, r := range b.table() {
		routes = append(routes, r.method+" "+r.path)
	}
	for _, o := range operations() {
		documented = append(documented, o.route)
		if o.summary == "" || o.id == "" || len(o.answers)+len(o.fails) == 0 {
			t.Errorf("%s is described by half", o.route)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	if diff := cmp.Diff(routes, documented); diff != "" {
		t.Errorf("routes that are registered (-) and described (+), in operations:\n%s", diff)
	}
	d, _ := described(t, b)
	n := 0
	for _, methods := range d.Paths {
		n += len(methods)
	}
	if n != len(routes) {
		t.Errorf("%d operations in the document of %d routes", n, len(routes))
	}
}

// The document is one of OpenAPI 3.1, by the schema that OpenAPI gives (Apache-2.0,
// https://spec.openapis.org/oas/3.1/schema/2022-10-07), its references lead somewhere, and its schemas are ones of JSON
// Schema.
func TestDocumentValid(t *testing.T) {
	_, text := described(t, newBench(t, nil))
	data, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(data, &schema); err != nil {
		t.Fatal(err)
	}
	valid, err := schema.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(text []byte) error {
		var document any
		if err := json.Unmarshal(text, &document); err != nil {
			return err
		}
		return valid.Validate(document)
	}
	if err := check(text); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][2]string{{`"summary":"Text to image"`, `"summary":1`}, {`"in":"path"`, `"in":"body"`}, {`"type":"http"`, `"type":"htp"`}} {
		if err := check([]byte(strings.ReplaceAll(string(text), wrong[0], wrong[1]))); err == nil {
			t.Errorf("a document with %s is valid", wrong[1])
		}
	}
	var document struct {
		Paths      map[string]map[string]struct{ OperationID string }
		Components struct {
			Schemas map[string]*jsonschema.Schema
		}
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, match := range regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`).FindAllSubmatch(text, -1) {
		if document.Components.Schemas[string(match[1])] == nil {
			t.Errorf("there is no schema %s", match[1])
		}
	}
	ids := map[string]string{}
	for path, methods := range document.Paths {
		for method, op := range methods {
			if other := ids[op.OperationID]; other != "" || !token.IsIdentifier(op.OperationID) {
				t.Errorf("%s %s has the operationId %q: must be an identifier, and no other's (%s)", method, path, op.OperationID, other)
			}
			ids[op.OperationID] = method + " " + path
		}
	}
}

// The document tells nobody what is installed, and by which names users are known.
func TestDocumentTellsNothing(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Name = "secret-model" })
	if w := b.do("POST", "/sdapi/v1/options", `{"sd_model_checkpoint":"fake-refiner"}`); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	_, text := described(t, b)
	for _, word := range []string{"secret-model", "fake-base", "fake-refiner", b.images} {
		if strings.Contains(string(text), word) {
			t.Errorf("the document has %q", word)
		}
	}
}

// Types, ranges and defaults in the document are the parsers'.
func TestDocumentSchemas(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MaxSteps, c.MaxPixels = 77, 1024*1024 })
	d, _ := described(t, b)
	got := map[string]string{}
	of := func(path, field string) {
		s := d.Paths[path]["post"].Body.Content["application/json"].Schema
		text, err := json.Marshal(s.Properties[field])
		if err != nil {
			t.Fatal(err)
		}
		var plain map[string]any
		if err := json.Unmarshal(text, &plain); err != nil {
			t.Fatal(err)
		}
		delete(plain, "description")
		text, err = json.Marshal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got[path+" "+field] = string(text); slices.Contains(s.Required, field) {
			got[path+" "+field] += " required"
		}
	}
	for _, f := range [][2]string{
		{"/generate", "prompt"}, {"/generate", "num_inference_steps"}, {"/generate", "width"}, {"/generate", "scheduler"}, {"/generate", "denoising_end"},
		{"/generate", "guidance_scale"}, {"/refine", "id"}, {"/refine", "refiner"}, {"/refine", "strength"}, {"/v1/jobs", "image"}, {"/v1/jobs", "refiner"}, {"/v1/jobs", "priority"},
		{"/v1/jobs", "id"}, {"/v1/images/generations", "n"}, {"/v1/images/edits", "task"}, {"/v1/images/edits", "image"}, {"/v1/images/edits", "output_format"}, {"/v1/images/edits", "output_compression"}, {"/v1/images/edits", "refiner"}, {"/sdapi/v1/txt2img", "refiner_switch_at"},
		{"/sdapi/v1/txt2img", "steps"}, {"/sdapi/v1/txt2img", "s_churn"}, {"/sdapi/v1/img2img", "init_images"},
		{"/sdapi/v1/options", "jpeg_quality"}, {"/sdapi/v1/options", "sd_model_checkpoint"},
	} {
		of(f[0], f[1])
	}
	want := map[string]string{
		"/generate prompt":              `{"type":"string"} required`,
		"/generate num_inference_steps": `{"maximum":77,"minimum":1,"type":["integer","null"]}`,
		"/generate width":               `{"maximum":2048,"minimum":8,"multipleOf":8,"type":["integer","null"]}`,
		"/generate scheduler":           `{"examples":["euler","ddim","heun"],"type":["string","null"]}`,
		"/generate denoising_end":       `{"exclusiveMaximum":1,"exclusiveMinimum":0,"type":["number","null"]}`,
		"/generate guidance_scale": `{"anyOf":[{"maximum":1000,"minimum":0,"type":"number"},{"items":{"maximum":1000,"minimum":0,"type":"number"},` +
			`"maxItems":1000,"minItems":1,"type":"array"},{"type":"null"}]}`,
		"/refine id":                            `{"type":"string"} required`,
		"/refine refiner":                       `{"default":true,"type":["boolean","null"]}`,
		"/refine strength":                      `{"exclusiveMinimum":0,"maximum":1,"type":["number","null"]}`,
		"/v1/jobs image":                        `{"type":["string","null"]}`,
		"/v1/jobs refiner":                      `{"type":["boolean","null"]}`,
		"/v1/jobs priority":                     `{"default":0,"maximum":100,"minimum":-100,"type":["integer","null"]}`,
		"/v1/jobs id":                           `{}`,
		"/v1/images/generations n":              `{"default":1,"maximum":10,"minimum":1,"type":["integer","null"]}`,
		"/v1/images/edits task":                 `null`,
		"/v1/images/edits image":                `{"type":["string","null"]}`,
		"/v1/images/edits output_format":        `{"enum":["png","jpeg","webp",null],"type":["string","null"]}`,
		"/v1/images/edits output_compression":   `{"maximum":100,"minimum":0,"type":["integer","null"]}`,
		"/v1/images/edits refiner":              `{"type":["boolean","null"]}`,
		"/sdapi/v1/txt2img refiner_switch_at":   `{"maximum":1,"minimum":0,"type":["number","null"]}`,
		"/sdapi/v1/txt2img steps":               `{"default":50,"maximum":77,"minimum":1,"type":["integer","null"]}`,
		"/sdapi/v1/txt2img s_churn":             `{}`,
		"/sdapi/v1/img2img init_images":         `{"items":{"type":"string"},"maxItems":64,"minItems":1,"type":"array"} required`,
		"/sdapi/v1/options jpeg_quality":        `{"default":80,"maximum":100,"minimum":1,"type":["integer","null"]}`,
		"/sdapi/v1/options sd_model_checkpoint": `{"type":["string","null"]}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("schemas of fields (-want +got):\n%s", diff)
	}
}

// A1111's defaults are the parsers' too.
func TestDocumentDefaults(t *testing.T) {
	b := newBench(t, nil)
	for _, img2img := range []bool{false, true} {
		o := sdImageOperation(img2img)
		notes := o.body.read(b.Server)
		compared := 0
		for _, field := range sdFields(img2img) {
			i := slices.IndexFunc(notes, func(n *fieldNote) bool {
				return n.name == field.name && len(n.forms) == 1 && len(n.forms[0].Default) > 0
			})
			if i < 0 || field.otherwise == "null" {
				continue
			}
			var own, a1111 any
			if json.Unmarshal(notes[i].forms[0].Default, &own) != nil || json.Unmarshal([]byte(field.otherwise), &a1111) != nil || own != a1111 {
				t.Errorf("%s: %s is parsed as %s without a value, and %s is said", o.route, field.name, notes[i].forms[0].Default, field.otherwise)
			}
			compared++
		}
		if compared < 10 {
			t.Errorf("%d defaults were compared", compared)
		}
	}
	f := &fields{values: map[string]json.RawMessage{}}
	for _, n := range notesOf(f, func() { b.readEveryOption(f) }) {
		i := slices.IndexFunc(sdOptions, func(o sdOption) bool { return o.name == n.name })
		if len(n.forms) == 1 && len(n.forms[0].Default) > 0 {
			if said := fmt.Sprint(sdOptions[i].otherwise(b.Server)); said != string(n.forms[0].Default) {
				t.Errorf("%s: %s is parsed as %s without a value, and %s is said", n.name, n.name, n.forms[0].Default, said)
			}
		}
	}
}

// The document has every kind of error at a route that answers it, but for those of no route.
func TestDocumentErrors(t *testing.T) {
	of := map[kind]bool{wrongMethod: true, sentAhead: true, clientGone: true, forbidden: true}
	for _, list := range [][]kind{anyFails, writeFails, tokenFails} {
		for _, k := range list {
			of[k] = true
		}
	}
	for _, o := range operations() {
		for _, list := range o.fails {
			for _, k := range list {
				of[k] = true
			}
		}
	}
	for k := range answers {
		if !of[k] {
			t.Errorf("no operation has the error %s", k)
		}
	}
}
