package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/goxl/goxl/job"
)

const (
	retentionCheck = time.Minute // between looks for what has been kept for long enough
	orphanCheck    = time.Hour   // between looks through the whole folder
	mostExpired    = 500         // jobs at once, so that others can write to the journal in between
)

// retain removes what Config.Keep and KeepBytes keep no longer, until ctx ends.
func (s *Server) retain(ctx context.Context) {
	if s.config.Keep == 0 && s.config.KeepBytes == 0 {
		return
	}
	check := time.NewTicker(retentionCheck)
	defer check.Stop()
	var searched time.Time
	for {
		err := s.expire(ctx)
		if s.config.Keep > 0 && time.Since(searched) >= orphanCheck {
			searched = time.Now()
			err = errors.Join(err, s.removeOrphans(ctx))
		}
		if err != nil {
			s.config.Log.Error("old jobs and images can't be removed", slog.String("error", err.Error()))
		}
		select {
		case <-check.C:
		case <-ctx.Done():
			return
		}
	}
}

// expire removes jobs, the oldest first, with their images. Those that another job has too stay.
func (s *Server) expire(ctx context.Context) error {
	var before time.Time // with none, the images' bytes alone say what goes
	if s.config.Keep > 0 {
		before = time.Now().Add(-s.config.Keep)
	}
	for ctx.Err() == nil {
		removed, err := s.journal.Expire(before, s.config.KeepBytes, mostExpired)
		if err != nil {
			return err
		}
		var ids []string
		for _, j := range removed {
			s.quotas.ended(&j)
			ids = slices.Concat(ids, job.IDs(j.Outputs), job.IDs(j.Inputs))
		}
		if err := s.removeUnused(ids); err != nil {
			return err
		}
		if len(removed) > 0 {
			s.config.Log.Info("jobs expired", slog.Int("jobs", len(removed)))
		}
		if len(removed) < mostExpired {
			return nil
		}
	}
	return nil
}

// removeOrphans removes images that no job has: uploads that were not used, and what a crash left.
func (s *Server) removeOrphans(ctx context.Context) error {
	ids, err := s.store.Older(time.Now().Add(-s.config.Keep))
	for len(ids) > 0 && err == nil && ctx.Err() == nil {
		n := min(len(ids), mostExpired)
		err = s.removeUnused(ids[:n])
		ids = ids[n:]
	}
	return err
}

// removeUnused removes those images that no job has, and no request under way begins with.
func (s *Server) removeUnused(ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	s.sources.mu.Lock()
	defer s.sources.mu.Unlock()
	var unused []string
	for _, id := range ids {
		if s.sources.keep(id) {
			continue
		}
		switch _, used, err := s.journal.JobOfBlob(id); {
		case err != nil:
			return err
		case !used:
			unused = append(unused, id)
		}
	}
	if len(unused) == 0 {
		return nil
	}
	return errors.Join(s.store.Remove(unused...), s.journal.ForgetUploads(unused...))
}

// adoptImages lets the images that are in the folder when its journal is made count as of now: they are kept as long as
// others.
func (s *Server) adoptImages() error {
	now := time.Now()
	ids, err := s.store.Older(now)
	for _, id := range ids {
		path, _, ferr := s.store.Find(id)
		if ferr == nil {
			ferr = os.Chtimes(path, now, now)
		}
		err = errors.Join(err, ferr)
	}
	return err
}
