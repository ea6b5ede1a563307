package server

import (
	"errors"
	"net/http"

	"github.com/goxl/goxl/job"
)

// interruptJob answers POST /v1/jobs/{id}/interrupt: a job that is computed ends after the step that is under way with
// the image that it has so far, and its parameters say so. 202 says that it is going to, 200 that it had ended before.
func (s *Server) interruptJob(x *exchange) error {
	id := x.r.PathValue("id")
	if _, _, err := s.job(x, id); err != nil {
		return err
	}
	x.job = id
	j, err := s.queue.Interrupt(id)
	if err != nil {
		return jobError(err)
	}
	status := http.StatusAccepted
	if j.State.Ended() {
		status = http.StatusOK
	}
	return s.replyJob(x, status, id)
}

// interruptOrCancel ends jobs with what there is, or without anything where they wait.
func (s *Server) interruptOrCancel(ids []string) error {
	for _, id := range ids {
		_, err := s.queue.Interrupt(id)
		if errors.Is(err, job.ErrNotRunning) {
			err = s.cancel([]string{id}, nil)
		}
		if err != nil {
			return jobError(err)
		}
	}
	return nil
}
