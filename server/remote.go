package server

import (
	"context"
	"errors"
	"maps"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/worker"
)

// Remote gives jobs to devices of other processes. Its methods may be called at the same time.
type Remote interface {
	// Start gives out the jobs of a queue, whose images lie in a store.
	Start(q *job.Queue, images *blob.Store) error
	// Ready reports whether there is a device, and Health what the states of those are.
	Ready() bool
	Health() map[string]worker.State
	// Find asks other servers for a job that this one does not have; job.ErrUnknown says that none has it.
	Find(ctx context.Context, id string) (job.Job, job.Live, error)
	// Wait waits until no job is computed, or fails with the context's cause.
	Wait(ctx context.Context) error
	// Close ends what Start began. The queue is closed before.
	Close() error
}

func (s *Server) remoteReady() bool { return s.config.Remote != nil && s.config.Remote.Ready() }

// health says of each device that has a name what its state is.
func (s *Server) health() map[string]worker.State {
	states := s.pool.Health()
	if s.config.Remote != nil {
		maps.Copy(states, s.config.Remote.Health())
	}
	return states
}

func (s *Server) waitRemote(ctx context.Context) error {
	if s.config.Remote == nil {
		return nil
	}
	return s.config.Remote.Wait(ctx)
}

func (s *Server) closeRemote() error {
	if s.config.Remote == nil {
		return nil
	}
	return s.config.Remote.Close()
}

// findJob finds a job of this server or, to look at, of another one that shares its workers.
func (s *Server) findJob(x *exchange, id string) (job.Job, job.Live, error) {
	j, live, err := s.job(x, id)
	if s.config.Remote == nil || !errors.Is(err, job.ErrUnknown) {
		return j, live, err
	}
	if j, live, err := s.config.Remote.Find(x.r.Context(), id); err == nil && x.sees(j.Owner) {
		return j, live, nil
	}
	return j, live, err
}
