package server

import (
	"errors"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// submitAttached submits n jobs of one image each, which end with their client, and gives their ids. Their seeds are
// that of the request and the next ones, so that each image is what a request for one with its seed makes. Where one
// can't be had, none is.
func (s *Server) submitAttached(x *exchange, r jobRequest, n int) (ids []string, err error) {
	if err := s.affords(x, n, n); err != nil {
		return nil, err
	}
	uploaded, err := s.keep(x, r.uploads)
	if err != nil {
		return nil, err
	}
	first := *r.task.Job.Request.Seed
	for i := range n {
		var id string
		if id, err = s.submitOne(x, r, first+uint64(i)); err != nil {
			break
		}
		ids = append(ids, id)
	}
	if err == nil {
		return ids, nil
	}
	err = s.cancel(ids, err)
	return nil, errors.Join(err, s.store.Remove(uploaded...))
}

func (s *Server) submitOne(x *exchange, r jobRequest, seed uint64) (id string, err error) {
	output, err := s.newID()
	if err != nil {
		return "", err
	}
	t := r.task
	t.Outputs = []string{output}
	t.Job.Request.Seed, t.Job.Parameters.Seed = &seed, seed
	j, err := s.attach(x, t, r.priority, r.warning)
	return j.ID, err
}

// attach submits a job that ends with its client.
func (s *Server) attach(x *exchange, t worker.Task, priority int, warnings ...string) (j job.Job, err error) {
	if j, err = s.newJob(t, warnings...); err != nil {
		return job.Job{}, err
	}
	j.API, j.Attached, j.Priority = x.r.URL.Path, true, priority
	j, _, err = s.submit(x, j)
	return j, err
}

// cancel cancels those of a client's jobs that have not ended, and joins err with what can't be done.
func (s *Server) cancel(ids []string, err error) error {
	for _, id := range ids {
		_, cerr := s.queue.Cancel(id, "client")
		err = errors.Join(err, jobError(cerr))
	}
	return err
}
