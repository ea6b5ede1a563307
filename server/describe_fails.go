package server

import (
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/openapi"
)

// describeFails adds the errors: those of the route, and those of any.
func (o *operation) describeFails(op *openapi.Operation, method, path string) {
	kinds := slices.Concat(o.fails...)
	kinds = append(kinds, anyFails...)
	if method != "get" {
		kinds = append(kinds, writeFails...)
	}
	need := accesses[o.route]
	if need != byAnyone {
		kinds = append(kinds, tokenFails...)
	}
	if need == byAdmin {
		kinds = append(kinds, forbidden)
	}
	schema := openapi.Ref("Error")
	if isOpenAI(path) {
		schema = openapi.Ref("OpenAIError")
	} else if isSDAPI(path) {
		schema = openapi.Ref("A1111Error")
	}
	words := map[int][]string{}
	for _, k := range kinds {
		status, _ := errorAnswer(path, &failure{kind: k})
		text := answers[k].detail
		if k == bodyTooLarge {
			text, _, _ = strings.Cut(text, ":") // how large depends on the route
		}
		if text += "."; !slices.Contains(words[status], text) {
			words[status] = append(words[status], text)
		}
		r := op.Responses[strconv.Itoa(status)]
		if r == nil {
			r = &openapi.Response{}
			r.Add("application/json", openapi.Media{Schema: schema})
			op.Responses[strconv.Itoa(status)] = r
		}
		if answers[k].retry > 0 && r.Headers == nil {
			r.Headers = map[string]openapi.Header{"Retry-After": {Description: "Seconds.", Schema: &jsonschema.Schema{Type: "integer", Minimum: new(0.0)}}}
		}
	}
	for status, list := range words {
		slices.Sort(list)
		op.Responses[strconv.Itoa(status)].Description = strings.Join(list, " ")
	}
}
