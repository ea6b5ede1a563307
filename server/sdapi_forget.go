package server

import (
	"log/slog"
	"slices"
)

// sdForget removes the records and images of jobs that are not to be kept, and then the images that came with them, of
// the ids. A job that goes on for the model that it loads goes once it has ended; should the server end before,
// it is cancelled, and kept as any other.
func (s *Server) sdForget(ids, sources []string) {
	goesOn := func(id string) bool {
		j, _, err := s.queue.Job(id)
		return err == nil && !j.State.Ended()
	}
	if !slices.ContainsFunc(ids, goesOn) {
		s.sdRemove(ids, sources)
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
			s.sdRemove(ids, sources)
		}
	})
}

// sdRemove removes jobs that have ended, and the images of the ids.
func (s *Server) sdRemove(ids, sources []string) {
	for _, id := range ids {
		j, _, err := s.queue.Job(id)
		if err == nil {
			s.quotas.ended(&j)
			err = s.removeJob(j)
		}
		s.sdLog("a job that was answered can't be removed", err, slog.String("id", id))
	}
	s.sdLog("images of a request can't be removed", s.removeUnused(sources))
}

func (s *Server) sdLog(what string, err error, attrs ...any) {
	if err != nil {
		s.config.Log.Warn(what, append(attrs, slog.String("error", err.Error()))...)
	}
}
