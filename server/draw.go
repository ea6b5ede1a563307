package server

import (
	"encoding/json"
	"net/http"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// madeView is the answer of /generate and /refine.
type madeView struct {
	ID         string          `json:"id"`
	Warnings   []string        `json:"warnings,omitempty"`
	Parameters sdxl.Parameters `json:"parameters"`
}

func (s *Server) generate(x *exchange) error {
	f, err := s.readJob(x)
	if err != nil {
		return err
	}
	var t worker.Task
	if t.Job, err = s.generateJob(f); err != nil {
		return err
	}
	warning, err := s.resolve(f, &t.Job)
	if err != nil {
		return err
	}
	return s.answerImage(x, t, warning)
}

func (s *Server) refine(x *exchange) error {
	f, err := s.readJob(x)
	if err != nil {
		return err
	}
	var t worker.Task
	id, j, err := s.refineJob(f)
	if err != nil {
		return err
	}
	size, err := s.sourceSize(x, id)
	if err != nil {
		return err
	}
	t.Job, t.Images = j, map[string]string{"image": id}
	t.Job.Request.Image = sdxl.Blank{Size: size}
	warning, err := s.resolve(f, &t.Job)
	if err != nil {
		return err
	}
	return s.answerImage(x, t, warning)
}

// readJob reads the body of a request for an image, if there is a device for it.
func (s *Server) readJob(x *exchange) (*fields, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	return s.readFields(x)
}

// answerImage submits a job that ends with its client, and answers with the image's id and parameters when the image is
// on disk.
func (s *Server) answerImage(x *exchange, t worker.Task, warning string) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	t.Outputs = []string{id}
	if err := x.conn.work(); err != nil {
		return err
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	j, err := s.attach(x, t, warning, 0)
	if err != nil {
		return err
	}
	x.job = j.ID
	if j, err = s.await(x.r.Context(), j.ID); err != nil {
		return err
	}
	var parameters sdxl.Parameters // whose JSON has no HTML escaped
	if err := json.Unmarshal(j.Parameters, &parameters); err != nil {
		return err
	}
	x.id, x.warned, x.preset = id, len(j.Warnings), parameters.PresetNote()
	return x.reply(http.StatusOK, madeView{id, j.Warnings, parameters})
}
