package server

import (
	"log/slog"
	"slices"
)

// sdForget removes the records and images of jobs that are not to be kept, and then the image that they began with, if
// its id is given. A job that goes on for the model that it loads goes once it has ended; should the server end before,
// it is cancelled, and kept as any other.
func (s *Server) sdForget(ids []string, source string) {
	goesOn := func(id string) bool {
		j, _, err := s.queue.Job(id)
		return err == nil && !j.State.Ended()
	}
	if !slices.ContainsFunc(ids, goesOn) {
		s.sdRemove(ids, source)
		return
	}
	s.loads.Go(func() {
		for _, id := range ids {
			events, err := s.queue.Watch(s.leaving, id, 0)
			if err != nil {
				continue // it is not there any more
			}
			for range events {
			}
		}
		if !slices.ContainsFunc(ids, goesOn) { // else the server ends
			s.sdRemove(ids, source)
		}
	})
}

// sdRemove removes jobs that have ended, and the image of the id, "" for none.
func (s *Server) sdRemove(ids []string, source string) {
	for _, id := range ids {
		j, _, err := s.queue.Job(id)
		if err == nil {
			s.quotas.ended(&j)
			err = s.removeJob(j)
		}
		s.sdLog("a job that was answered can't be removed", err, slog.String("id", id))
	}
	if source != "" {
		s.sdLog("the image of a request can't be removed", s.removeUnused([]string{source}))
	}
}

func (s *Server) sdLog(what string, err error, attrs ...any) {
	if err != nil {
		s.config.Log.Warn(what, append(attrs, slog.String("error", err.Error()))...)
	}
}
