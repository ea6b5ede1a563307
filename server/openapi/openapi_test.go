package openapi

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
)

type colour string

type leaf struct {
	Colour colour    `json:"colour"`
	At     time.Time `json:"at,omitzero"`
}

type tree struct {
	Name   string          `json:"name" jsonschema:"What it is called."`
	Leaves []leaf          `json:"leaves"`
	Under  *tree           `json:"under,omitempty"`
	Note   *string         `json:"note"`
	Maybe  *int            `json:"maybe,omitempty"`
	Any    json.RawMessage `json:"any,omitempty"`
	By     map[string]leaf `json:"by,omitempty"`
}

// Schemas are of what encoding/json writes: names are references, also of a type to itself, and what may be left out is
// never null.
func TestTypes(t *testing.T) {
	types := Types{
		Names: map[string]reflect.Type{"Tree": reflect.TypeFor[tree](), "Leaf": reflect.TypeFor[leaf]()},
		Forms: map[reflect.Type]*jsonschema.Schema{reflect.TypeFor[colour](): {Type: "string", Enum: []any{"green", "red"}}},
	}
	all, err := types.Components()
	if err != nil {
		t.Fatal(err)
	}
	list, err := types.Of(reflect.TypeFor[[]tree]())
	if err != nil {
		t.Fatal(err)
	}
	all["List"] = list
	got, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"Leaf":{"type":"object","properties":{"colour":{"type":"string","enum":["green","red"]},"at":{"type":"string"}},"required":["colour"]},` +
		`"List":{"type":"array","items":{"$ref":"#/components/schemas/Tree"}},` +
		`"Tree":{"type":"object","properties":{"name":{"type":"string","description":"What it is called."},` +
		`"leaves":{"type":"array","items":{"$ref":"#/components/schemas/Leaf"}},"under":{"$ref":"#/components/schemas/Tree"},` +
		`"note":{"type":["null","string"]},"maybe":{"type":"integer"},"any":true,` +
		`"by":{"type":"object","additionalProperties":{"$ref":"#/components/schemas/Leaf"}}},"required":["name","leaves","note"]}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if _, err := types.Of(reflect.TypeFor[chan int]()); err == nil || !strings.Contains(err.Error(), "openapi: schema of chan int") {
		t.Errorf("a channel: %v", err)
	}
}

// The page says of types and ranges what the schemas do.
func TestWords(t *testing.T) {
	low, high, huge := -1.0, 2.5, 0x1p64
	for _, c := range []struct {
		of   *jsonschema.Schema
		want text
	}{
		{&jsonschema.Schema{}, words("any")},
		{&jsonschema.Schema{Type: "number", Minimum: &low, Maximum: &high}, words("number, -1 to 2.5")},
		{&jsonschema.Schema{Type: "number", ExclusiveMinimum: &low, Maximum: &high}, words("number, above -1 to 2.5")},
		{&jsonschema.Schema{Type: "number", ExclusiveMinimum: &low, ExclusiveMaximum: &high}, words("number, between -1 and 2.5")},
		{&jsonschema.Schema{Type: "integer", Minimum: &low, ExclusiveMaximum: &huge}, words("integer, from -1 and below 2^64")},
		{OrNull(&jsonschema.Schema{Type: "integer", MultipleOf: &high}), words("integer, a multiple of 2.5")},
		{&jsonschema.Schema{Type: "array", Items: Ref("Job")}, text{{Words: "list of "}, {Link: "Job"}}},
		{&jsonschema.Schema{Type: "array", Items: &jsonschema.Schema{Type: "number", Minimum: &low, Maximum: &high}}, text{{Words: "list of "}, {Words: "numbers, -1 to 2.5"}}},
		{&jsonschema.Schema{Type: "object", AdditionalProperties: Ref("Job")}, text{{Words: "object of "}, {Link: "Job"}}},
		{&jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "object"}, {Type: "object", Required: []string{"a"}}}}, words("object")},
		{OrNull(&jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, Ref("Job")}}), text{{Words: "string"}, {Words: " or "}, {Link: "Job"}}},
		{&jsonschema.Schema{Type: "string", Format: "uuid"}, words("uuid")},
	} {
		if got := describe(c.of); !slices.Equal(got, c.want) {
			t.Errorf("%+v, want %+v", got, c.want)
		}
	}
}

// A command line is a shell's, whatever the example has.
func TestQuote(t *testing.T) {
	for word, want := range map[string]string{"http://x/y": "http://x/y", `{"a":1}`: `'{"a":1}'`, "it's $x": `'it'\''s $x'`} {
		if got := quote(word); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// The page escapes what it shows, and needs nothing from elsewhere.
func TestPage(t *testing.T) {
	d := &Document{
		Info: Info{Title: "<b>", Version: "1"}, Tags: []Tag{{Name: "A"}},
		Paths: map[string]map[string]*Operation{
			"/b": {"get": {ID: "b", Tags: []string{"A"}, Position: 1, Responses: map[string]*Response{"200": {Description: "<i>"}}}},
			"/a/{id}": {"post": {
				ID: "a", Tags: []string{"A"}, Position: 2, Responses: map[string]*Response{},
				Parameters: []Parameter{{Name: "id", In: "path", Required: true, Schema: &jsonschema.Schema{Type: "string"}, Example: "7"}},
				Body:       &Body{Content: map[string]Media{"application/json": {Schema: &jsonschema.Schema{Type: "object"}, Example: json.RawMessage(`{"x":"'"}`)}}},
			}},
		},
	}
	page, err := Page(d, "http://h")
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, wrong := range []string{"<b>", "<i>", "https://", "style=", "onclick"} {
		if strings.Contains(text, wrong) {
			t.Errorf("the page has %q", wrong)
		}
	}
	if !strings.Contains(text, "curl http://h/a/7 \\\n  --json &#39;{&#34;x&#34;:&#34;&#39;\\&#39;&#39;&#34;}&#39;") {
		t.Error("the page has no command line with the example")
	}
	if strings.Index(text, "op-b") > strings.Index(text, "op-a") {
		t.Error("the operations are in another order than the document's")
	}
}

// The page's colours are those of the web page.
func TestColours(t *testing.T) {
	own, err := os.ReadFile("../page/files/style.css")
	if err != nil {
		t.Fatal(err)
	}
	_, colours, _ := strings.Cut(string(own), ":root {")
	colours, _, found := strings.Cut(colours, "\n}")
	if !found || !strings.Contains(string(docsCSS), ":root {"+colours+"\n}") {
		t.Error("docs.css has other colours than the web page's style.css: copy its :root")
	}
}
