package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/goxl/goxl/job"
)

// openAIEvent is an image of a stream: a preview, or the image itself.
type openAIEvent struct {
	Type         string       `json:"type"`
	Base64       string       `json:"b64_json"`
	Created      int64        `json:"created_at"`
	Size         string       `json:"size" jsonschema:"Of the image itself; a preview may be smaller."`
	Quality      string       `json:"quality"`
	Background   string       `json:"background"`
	OutputFormat string       `json:"output_format"`
	Index        *int         `json:"partial_image_index,omitzero" jsonschema:"Of a preview, from 0."`
	Usage        *openAIUsage `json:"usage,omitzero" jsonschema:"Of the image itself, as what follows."`

	URL      string   `json:"url,omitzero"`
	ID       string   `json:"id,omitzero"`
	Seed     *uint64  `json:"seed,omitzero"`
	Warnings []string `json:"warnings,omitempty"`
}

// streamImages answers with server-sent events: previews of a job, as many as were asked for, and its image. What goes
// wrong after the first of them is an event "error".
func (s *Server) streamImages(x *exchange, q openAIRequest, id string) error {
	j, _, err := s.queue.Job(id)
	if err != nil {
		return s.cancel([]string{id}, err)
	}
	h := x.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	x.WriteHeader(http.StatusOK)
	w := eventWriter{x: x, flush: http.NewResponseController(x).Flush}
	w.send([]byte(":\n\n")) // clients see that the request was accepted
	p := q.job.task.Job.Parameters
	event := openAIEvent{
		Type: q.route.event() + ".partial_image", Created: j.Created.Unix(), Size: fmt.Sprintf("%dx%d", p.Width, p.Height),
		Quality: "auto", Background: "opaque", OutputFormat: "jpeg",
	}
	sent := 0
	j, err = s.attend(x.r.Context(), id, attendant{
		event: func(e job.Event) error {
			if e.Kind != job.KindPreview || sent == q.partial {
				return w.err
			}
			event.Index, event.Base64 = new(sent), base64.StdEncoding.EncodeToString(e.Preview)
			sent++
			return w.sendJSON(event.Type, event)
		},
		idle: func() error {
			w.send([]byte(":\n\n"))
			return w.err
		},
	})
	if err == nil {
		err = s.sendImage(&w, q, event, j)
	}
	if err == nil {
		return nil
	}
	f := classify(err)
	if w.err == nil && f.kind != clientGone {
		_, body := openAIError(f)
		_ = w.sendJSON("error", body) // the log has err, of which the client learns if it can
	}
	x.fail(err)
	return nil
}

// sendImage sends the last event.
func (s *Server) sendImage(w *eventWriter, q openAIRequest, event openAIEvent, j job.Job) error {
	answer, err := s.openAIAnswer(w.x, q, []job.Job{j})
	if err != nil {
		return err
	}
	img := answer.Data[0]
	if event.Base64 = img.Base64; event.Base64 == "" { // a stream has it in any case
		data, _, err := s.store.Read(img.ID)
		if err != nil {
			return err
		}
		event.Base64 = base64.StdEncoding.EncodeToString(data)
	}
	event.Type, event.Index, event.OutputFormat, event.Size = q.route.event()+".completed", nil, answer.OutputFormat, answer.Size
	event.Usage, event.URL, event.ID, event.Seed, event.Warnings = &answer.Usage, img.URL, img.ID, &img.Seed, answer.Warnings
	w.x.id, w.x.warned, w.x.preset = img.ID, len(answer.Warnings), answer.Parameters.PresetNote()
	return w.sendJSON(event.Type, event)
}

// sendJSON sends an event without a number. The error is also w's.
func (w *eventWriter) sendJSON(name string, data any) error {
	var text bytes.Buffer
	fmt.Fprintf(&text, "event: %s\ndata: ", name)
	enc := json.NewEncoder(&text) // ends the line, and has no other
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return errors.Join(err, w.err)
	}
	text.WriteString("\n")
	w.send(text.Bytes())
	return w.err
}
