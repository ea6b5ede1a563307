package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/goxl/goxl/models/sdxl"
)

// madeView is the answer of /generate and /refine.
type madeView struct {
	ID         string          `json:"id"`
	Warnings   []string        `json:"warnings,omitempty"`
	Parameters sdxl.Parameters `json:"parameters"`
}

func (s *Server) generate(x *exchange) error {
	f, err := s.readJob(x, "image", "mask", "control", "controls", "t2i_adapters", "ip_adapters")
	if err != nil {
		return err
	}
	given := f.givenNames()
	r, err := s.generateJob(x, f, f.imageTask())
	if err != nil {
		return err
	}
	if r.warning, err = s.resolve(f, &r.task.Job); err != nil {
		return err
	}
	_, r.unread = f.unread(given)
	return s.answerImage(x, r)
}

func (s *Server) refine(x *exchange) error {
	f, err := s.readJob(x, "mask", "control", "controls", "t2i_adapters", "ip_adapters")
	if err != nil {
		return err
	}
	given := f.givenNames()
	id, r, err := s.refineJob(x, f)
	if err != nil {
		return err
	}
	size, err := s.sourceSize(x, id)
	if err != nil {
		return err
	}
	r.task.Images["image"] = id
	r.task.Job.Request.Image = sdxl.Blank{Size: size}
	if r.warning, err = s.resolve(f, &r.task.Job); err != nil {
		return err
	}
	_, r.unread = f.unread(given)
	return s.answerImage(x, r)
}

// readJob reads the body of a request for an image, if there is a device for it. It may be large where one of the fields
// with images is in it.
func (s *Server) readJob(x *exchange, images ...string) (*fields, error) {
	if err := s.ready(); err != nil {
		return nil, err
	}
	data, err := s.readBody(x, maxJobBody)
	if err != nil {
		return nil, err
	}
	f, p := parseFields(data, x.r.Header.Get("Content-Type"))
	has := func(name string) bool { return f.given(name) != nil }
	switch {
	case len(data) > maxBody && (p != nil || !slices.ContainsFunc(images, has)):
		return nil, &failure{kind: bodyTooLarge}
	case p != nil:
		return nil, &failure{kind: invalid, problems: []problem{*p}}
	case len(data) <= smallBody: // which others need not wait for
		x.release()
	}
	return f, nil
}

// answerImage submits a job that ends with its client, and answers with the image's id and parameters when the image is
// on disk.
func (s *Server) answerImage(x *exchange, r jobRequest) error {
	id, err := s.newID()
	if err != nil {
		return err
	}
	r.task.Outputs = []string{id}
	if err := x.conn.work(); err != nil {
		return err
	}
	s.active.Add(1)
	defer s.active.Add(-1)
	uploaded, err := s.keep(x, r.uploads)
	if err != nil {
		return err
	}
	x.release()
	j, err := s.attach(x, r.task, 0, r.warning, r.unread)
	if err != nil {
		return errors.Join(err, s.store.Remove(uploaded...))
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
