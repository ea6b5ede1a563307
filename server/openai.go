package server

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/models/sdxl"
)

// OpenAI's images API (https://platform.openai.com/docs/api-reference/images) on top of jobs: a body is read as one of
// POST /v1/jobs with other names, its images are jobs that end with the client, and errors have OpenAI's form.

// openAIImages is the answer of the two routes that make images.
type openAIImages struct {
	Created      int64           `json:"created" jsonschema:"Unix seconds."`
	Data         []openAIImage   `json:"data"`
	Background   string          `json:"background"`
	OutputFormat string          `json:"output_format"`
	Size         string          `json:"size" jsonschema:"As 1024x1024."`
	Usage        openAIUsage     `json:"usage"`
	Warnings     []string        `json:"warnings,omitempty"`
	Parameters   sdxl.Parameters `json:"parameters" jsonschema:"Of the first image."`
}

// openAIImage is one image, in base64 or as a URL.
type openAIImage struct {
	Base64 string `json:"b64_json,omitzero"`
	URL    string `json:"url,omitzero"`
	ID     string `json:"id"`
	Seed   uint64 `json:"seed"`
}

// openAIUsage counts tokens for a bill. There is none, and the prompts' tokens are known to the engines alone: all is 0.
type openAIUsage struct {
	Input  int `json:"input_tokens"`
	Output int `json:"output_tokens"`
	Total  int `json:"total_tokens"`
	Detail struct {
		Image int `json:"image_tokens"`
		Text  int `json:"text_tokens"`
	} `json:"input_tokens_details"`
}

// ignoredHeader names the fields of a request that have no effect.
const ignoredHeader = "X-Goxl-Ignored"

func (s *Server) imageGenerations(x *exchange) error { return s.openAI(x, generation) }

func (s *Server) imageEdits(x *exchange) error { return s.openAI(x, edit) }

// openAI answers one of the two.
func (s *Server) openAI(x *exchange, route openAIRoute) error {
	err := s.makeImages(x, route)
	var f *failure
	if errors.As(err, &f) && answers[f.kind].status == http.StatusNotImplemented {
		x.Header().Set("X-Should-Retry", "false") // OpenAI's clients try again after other errors of a server
	}
	return err
}

// makeImages answers a request for images when they are on disk, or as they come.
func (s *Server) makeImages(x *exchange, route openAIRoute) error {
	if err := s.ready(); err != nil {
		return err
	}
	f, err := s.readOpenAI(x, route)
	if err != nil {
		return err
	}
	q, err := s.openAIRequest(x, f, route)
	if err != nil {
		return err
	}
	if len(q.ignored) > 0 {
		x.Header().Set(ignoredHeader, headerList(q.ignored))
	}
	if err := x.conn.work(); err != nil {
		return err
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	jobs, err := s.submitAttached(x, q.job, q.n)
	if err != nil {
		return err
	}
	x.job = jobs[0]
	x.release()
	if q.stream {
		return s.streamImages(x, q, jobs[0])
	}
	var done []job.Job
	for i, id := range jobs {
		j, err := s.await(x.r.Context(), id)
		if err != nil {
			return s.cancel(jobs[i+1:], err) // await has ended its own, unless it goes on for the model that it loads
		}
		done = append(done, j)
	}
	answer, err := s.openAIAnswer(x, q, done)
	if err != nil {
		return err
	}
	x.id, x.warned, x.preset = answer.Data[0].ID, len(answer.Warnings), answer.Parameters.PresetNote()
	return x.reply(http.StatusOK, answer)
}

// openAIAnswer has the images of jobs that are done.
func (s *Server) openAIAnswer(x *exchange, q openAIRequest, done []job.Job) (a openAIImages, err error) {
	first := done[0].Outputs[0]
	a = openAIImages{
		Created: done[0].Created.Unix(), Background: "opaque", OutputFormat: formatName(first.Type), Size: fmt.Sprintf("%dx%d", first.Width, first.Height),
		Warnings: q.warnings,
	}
	if err := json.Unmarshal(done[0].Parameters, &a.Parameters); err != nil {
		return a, err
	}
	for _, j := range done {
		for _, w := range j.Warnings {
			if !slices.Contains(a.Warnings, w) {
				a.Warnings = append(a.Warnings, w)
			}
		}
		b := j.Outputs[0]
		img := openAIImage{ID: b.ID, Seed: *b.Seed}
		if q.base64 {
			data, _, err := s.store.Read(b.ID)
			if err != nil {
				return a, err
			}
			img.Base64 = base64.StdEncoding.EncodeToString(data)
		} else {
			img.URL = absolute(x, "/download/"+b.ID)
		}
		a.Data = append(a.Data, img)
	}
	return a, nil
}

// absolute is a path of this server as a URL, by the name that the client has for it.
func absolute(x *exchange, path string) string {
	scheme := "http://"
	if x.from.https {
		scheme = "https://"
	}
	return scheme + x.r.Host + x.from.prefix + path
}

// formatName is the word of output_format for a media type.
func formatName(media string) string {
	for _, name := range slices.Sorted(maps.Keys(formats)) {
		if string(formats[name]) == media {
			return name
		}
	}
	return media
}

// mostNamed is how many fields that have no effect an answer names.
const mostNamed = 32

// headerList is names for a header: those that can stand in one.
func headerList(names []string) string {
	var list []string
	for _, name := range names {
		plain := func(r rune) bool {
			return r == '_' || r == '-' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		}
		if len(list) < mostNamed && len(name) <= 64 && strings.IndexFunc(name, func(r rune) bool { return !plain(r) }) < 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}
