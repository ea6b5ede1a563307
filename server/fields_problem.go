package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// problem is one entry of a 422 answer, in the form that FastAPI and pydantic 2 give it. Ctx names every limit of the field, not only
// the one that was passed.
type problem struct {
	Type  string          `json:"type"`
	Loc   []any           `json:"loc"`
	Msg   string          `json:"msg"`
	Input json.RawMessage `json:"input"`
	Ctx   map[string]any  `json:"ctx,omitempty"`

	logged string // what the log has in the place of Msg, where that quotes the client; "" is Msg
}

// requestProblem is what a model can't do, with its reason if there is one.
func requestProblem(e *sdxl.RequestError) problem {
	msg := "Value error, must be " + e.Allowed
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	input, err := json.Marshal(e.Value)
	if err != nil { // NaN, or a type that JSON has no form for
		input = json.RawMessage(strconv.Quote(fmt.Sprint(e.Value)))
	}
	return problem{Type: "value_error", Loc: placeOf(e.Field), Msg: msg, Input: quoted(input), logged: "Value error, " + worker.Loggable(e)}
}

// place is where a field is, as FastAPI has it.
func (f *fields) place(name string) []any {
	return slices.Concat([]any{cmp.Or(f.from, "body")}, f.path, []any{name})
}

var placePart = regexp.MustCompile(`[^.\[\]]+`)

// placeNames are names of bodies for those that package sdxl has for fields.
var placeNames = map[string]string{"mask_image": "mask", "hires.steps": "hires.num_inference_steps", "path": "model"}

// placeOf is the place in the body of what package sdxl names as controls[0].image.
func placeOf(field string) []any {
	if name := placeNames[field]; name != "" {
		field = name
	}
	place := []any{"body"}
	for _, part := range placePart.FindAllString(field, -1) {
		n, err := strconv.Atoi(part)
		switch {
		case err == nil:
			place = append(place, n)
		case len(place) > 1 && placeNames[part] != "":
			place = append(place, placeNames[part])
		default:
			place = append(place, part)
		}
	}
	if len(place) == 1 {
		place = append(place, field)
	}
	return place
}

// pathText is a place as package sdxl writes one.
func pathText(path []any) string {
	var b strings.Builder
	for i, part := range path {
		switch part := part.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", part)
		default:
			if i > 0 {
				b.WriteByte('.')
			}
			fmt.Fprint(&b, part)
		}
	}
	return b.String()
}

// quoted is what an answer has of a client's JSON, which is the beginning where that may be an image.
func quoted(raw json.RawMessage) json.RawMessage {
	if len(raw) <= maxBody {
		return raw
	}
	text := string(raw)
	_ = json.Unmarshal(raw, &text) // what is no string stays as it is written
	short, err := json.Marshal(beginning(text))
	if err != nil { // a text has a form
		return json.RawMessage("null")
	}
	return short
}
