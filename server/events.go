package server

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/goxl/goxl/job"
)

const (
	eventRetry = 2 * time.Second  // after which a client connects again
	eventIdle  = 15 * time.Second // between two signs of life
)

// jobEvents answers GET /v1/jobs/{id}/events with server-sent events, up to the end of the job. A client that takes
// nothing for Config.SendTimeout is dropped; it goes on where it was by Last-Event-ID.
func (s *Server) jobEvents(x *exchange) error {
	id := x.r.PathValue("id")
	if _, _, err := s.job(x, id); err != nil {
		return err
	}
	after, err := lastEvent(x.r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(x.r.Context())
	defer cancel()
	events, err := s.queue.Watch(ctx, id, after)
	if err != nil {
		return jobError(err)
	}
	x.job = id
	h := x.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	x.WriteHeader(http.StatusOK)
	if x.r.Method == http.MethodHead {
		return nil
	}
	w := eventWriter{x: x, flush: http.NewResponseController(x).Flush}
	w.send(fmt.Appendf(nil, "retry: %d\n\n", eventRetry.Milliseconds()))
	idle := time.NewTicker(eventIdle)
	defer idle.Stop()
	for w.err == nil {
		select {
		case e, more := <-events:
			if !more {
				return nil
			}
			idle.Reset(eventIdle)
			s.sendEvent(&w, e)
		case <-idle.C:
			w.send([]byte(":\n\n"))
		case <-s.leaving.Done():
			return nil // the client asks the next server
		case <-ctx.Done():
			return nil
		}
	}
	x.err = w.err // nobody is left to answer
	return nil
}

// lastEvent is the number of the last event that a client has had, 0 for none: of the header Last-Event-ID, which
// browsers send, or else of the parameter after.
func lastEvent(r *http.Request) (uint64, error) {
	f, name := queryFields(r), "after"
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		text, err := json.Marshal(id)
		if err != nil {
			return 0, err
		}
		f.from, name = "header", "last-event-id"
		f.values[name] = text
	}
	after := f.eventNumber(name)
	return after, f.err()
}

func (f *fields) eventNumber(name string) uint64 {
	return f.integer(name, limits{0, math.MaxInt64, 0}, 0)
}

// eventWriter sends events until one can't be sent.
type eventWriter struct {
	x     *exchange
	flush func() error
	err   error
}

func (w *eventWriter) send(text []byte) {
	if w.err == nil {
		_, w.err = w.x.Write(text)
	}
	if w.err == nil {
		w.err = w.flush()
	}
}

// What events of a job say, by their kinds.
type (
	stateEvent struct {
		State    job.State  `json:"state"`
		Position int        `json:"position,omitzero" jsonschema:"The place in the queue; 1 is next."`
		Error    *errorView `json:"error,omitempty" jsonschema:"Of an attempt that failed."`
	}
	loadingEvent struct {
		Percent float64 `json:"percent" jsonschema:"How much of the model is read, 0 to 100."`
	}
	stepEvent struct {
		Step        int     `json:"step" jsonschema:"The step that is done, from 1."`
		Steps       int     `json:"steps"`
		SecondsLeft float64 `json:"seconds_left" jsonschema:"An estimate for the whole job."`
	}
	previewEvent struct {
		Step  int    `json:"step"`
		Image int    `json:"image" jsonschema:"Which one of the batch, from 0."`
		Type  string `json:"type" jsonschema:"The media type."`
		Data  string `json:"data" jsonschema:"The image in base64."`
	}
	warningEvent struct {
		Warning string `json:"warning"`
	}
	stoppingEvent struct{}
)

// sendEvent sends an event of a job; the last one has the whole job.
func (s *Server) sendEvent(w *eventWriter, e job.Event) {
	name, data := string(e.Kind), any(nil)
	switch e.Kind {
	case job.KindState:
		if e.State.Ended() {
			name = string(e.State)
			j, live, err := s.queue.Job(e.Job)
			if err != nil { // it was removed meanwhile
				j = job.Job{ID: e.Job, State: e.State, Error: e.Error}
			}
			data = view(j, live, w.x.from.prefix)
			break
		}
		state := stateEvent{State: e.State, Position: e.Position}
		if e.Error != nil {
			state.Error = &errorView{e.Error.Kind, e.Error.Message}
		}
		data = state
	case job.KindLoading:
		data = loadingEvent{e.Percent}
	case job.KindStep:
		data = stepEvent{e.Step, e.Steps, seconds(e.Left)}
	case job.KindPreview:
		data = previewEvent{e.Step, e.Image, e.PreviewType, base64.StdEncoding.EncodeToString(e.Preview)}
	case job.KindWarning:
		data = warningEvent{e.Warning}
	case job.KindStopping:
		data = stoppingEvent{}
	default:
		return
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "id: %d\nevent: %s\ndata: ", e.Seq, name)
	enc := json.NewEncoder(&text) // ends the line, and has no other
	enc.SetEscapeHTML(false)
	if w.err = enc.Encode(data); w.err != nil {
		return
	}
	text.WriteString("\n")
	w.send(text.Bytes())
}
