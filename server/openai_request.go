package server

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
)

// openAIRoute is which of the two routes a request came by.
type openAIRoute int

const (
	generation openAIRoute = iota
	edit
)

// event is what the types of the route's events begin with.
func (r openAIRoute) event() string {
	if r == edit {
		return "image_edit"
	}
	return "image_generation"
}

// openAIRequest is what a body asks for.
type openAIRequest struct {
	route    openAIRoute
	job      jobRequest // resolved; of one image
	n        int
	base64   bool
	stream   bool
	partial  int      // previews of a stream
	ignored  []string // fields that have no effect
	warnings []string
}

// Limits of OpenAI's own.
const (
	openAIImagesMost  = 10
	partialImagesMost = 3
)

// openAIRequest reads the fields of a request: OpenAI's own, and all of POST /v1/jobs beside them.
func (s *Server) openAIRequest(x *exchange, f *fields, route openAIRoute) (q openAIRequest, err error) {
	given := f.givenNames()
	q.route = route
	if err := s.openAIModel(f, route); err != nil {
		return q, err
	}
	switch {
	case route == edit:
		readEdited(f)
		if err := cmp.Or(s.readEditMask(x, f), f.err()); err != nil { // else the image is reported missing too
			return q, err
		}
		f.set("task", quotedText(string(f.editTask())))
	case f.given("mask") != nil:
		f.report("mask", "value_error", "Value error, must be absent: /v1/images/edits takes a mask", nil)
		return q, f.err()
	}
	f.rename("num_images_per_prompt", "n")
	q.n = int(f.integer("n", limits{1, openAIImagesMost, 0}, 1))
	f.set("n", json.RawMessage("1")) // each image is a job
	q.base64 = f.choice("response_format", []string{"url", "b64_json"}) == "b64_json"
	size := openAISize(f, route)
	q.readStream(f)
	q.readUnheeded(f)
	q.readCompression(f)
	f.drop("preview_every") // the stream says how often
	if q.job, err = s.jobTask(x, f); err != nil {
		return q, err
	}
	t := &q.job.task
	if q.job.warning, err = s.resolve(f, &t.Job); err != nil {
		return q, err
	}
	delete(f.used, "preview_every")
	p := t.Job.Parameters
	if own := fmt.Sprintf("%dx%d", p.Width, p.Height); size != "" && size != own {
		q.ignore("size", "size: the image keeps its own, "+own)
	}
	if q.partial > 0 {
		t.PreviewEvery = max(1, stepsTaken(p)/(q.partial+1))
	}
	if unread, warning := f.unread(given); warning != "" {
		q.ignored, q.warnings = append(q.ignored, unread...), append(q.warnings, warning)
	}
	return q, nil
}

// stepsTaken is about how many steps a run takes.
func stepsTaken(p sdxl.Parameters) int {
	fraction := 1.0
	switch {
	case p.Strength > 0:
		fraction = p.Strength
	case p.DenoisingStart > 0:
		fraction -= p.DenoisingStart
	}
	if p.DenoisingEnd > 0 && len(p.Experts) == 0 {
		fraction -= 1 - p.DenoisingEnd
	}
	n := int(fraction * float64(p.Steps))
	if p.Interrupt > 0 {
		n = min(n, p.Interrupt)
	}
	return n
}

// openAIModel makes the field model, if it is there, say what runs: a base for text, base or refiner for images. A name
// that both have leaves it to the other fields.
func (s *Server) openAIModel(f *fields, route openAIRoute) error {
	name := f.optionalText("model")
	if name == nil || len(f.problems) > 0 {
		return f.err()
	}
	m, refiner, known := s.lookUpModel(f, true)
	switch {
	case !known:
		return s.unknownModel(*name)
	case !refiner && m.refinerName() == *name: // both have it
	case route == edit && f.given("refiner") == nil:
		f.set("refiner", json.RawMessage(strconv.FormatBool(refiner)))
	case route == generation && refiner:
		f.report("model", "value_error", "Value error, this refiner makes images from images alone: use /v1/images/edits", nil)
	}
	return f.err()
}

// editedForms are how a JSON body names the image of an edit.
var editedForms = &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
	{Type: "object", Required: []string{"image_url"}, Properties: map[string]*jsonschema.Schema{"image_url": {
		Type: "string", Description: "A data URL with an image in base64, or the URL of an image of this server.",
	}}},
	{Type: "object", Required: []string{"file_id"}, Properties: map[string]*jsonschema.Schema{"file_id": {
		Type: "string", Format: "uuid", Description: "The id of an image.",
	}}},
}}

// readEdited reads the image of an edit into the field image: of a JSON body, its list images.
func readEdited(f *fields) {
	if f.isList("image") {
		f.values["images"] = f.values["image"]
	}
	f.notes.items("images", 1, 1, editedForms)
	list := f.items("images", 16)
	if list == nil {
		return
	}
	if len(list) != 1 {
		f.report("images", "too_long", fmt.Sprintf("must be one image: there are %d", len(list)), nil)
		return
	}
	if text, ok := f.editedImage("images", list[0], `[{"image_url": URL}] or [{"file_id": ID}]`); ok {
		f.set("image", quotedText(text))
	}
}

// editedImage is the id or the data URL in one of editedForms, or in a text as image: ["data:…"]. It is not ok after a
// report, which names the forms.
func (f *fields) editedImage(name string, raw json.RawMessage, forms string) (text string, ok bool) {
	var from struct {
		URL  *string `json:"image_url"`
		File *string `json:"file_id"`
	}
	var alone *string
	if json.Unmarshal(raw, &alone) == nil && alone != nil {
		from.URL = alone
	} else if json.Unmarshal(raw, &from) != nil || (from.URL == nil) == (from.File == nil) {
		f.report(name, "value_error", "Value error, must be "+forms, nil)
		return "", false
	}
	if from.File != nil {
		return *from.File, true
	}
	text = ownImage(*from.URL)
	if strings.HasPrefix(text, "http:") || strings.HasPrefix(text, "https:") {
		f.values[name] = quotedText(beginning(text))
		f.report(name, "value_error", "Value error, must be a data URL, or that of an image of this server: it fetches nothing from others", nil)
		return "", false
	}
	return text, true
}

// quotedText is a text in JSON.
func quotedText(text string) json.RawMessage {
	raw, _ := json.Marshal(text) // a string has a form
	return raw
}

// ownImage is the id in the URL of a download, or what was given.
func ownImage(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.HasSuffix(path.Dir(u.Path), "/download") {
		return text
	}
	if id := path.Base(u.Path); blob.IsID(id) {
		return id
	}
	return text
}
