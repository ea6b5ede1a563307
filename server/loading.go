package server

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/goxl/goxl/job"
)

// longestLoading is how long a client that waits for its image waits for a model that is loaded.
const longestLoading = time.Minute

// loadingTimer is the patience of a client while the model of its job is loaded.
type loadingTimer struct {
	timer   *time.Timer      // nil while nothing is loaded
	c       <-chan time.Time // the timer's
	percent float64
}

// heed takes note of an event of the job.
func (t *loadingTimer) heed(e job.Event, limit time.Duration) {
	switch {
	case e.Kind == job.KindLoading:
		t.percent = e.Percent
		if t.timer == nil {
			t.timer = time.NewTimer(limit)
			t.c = t.timer.C
		}
	case e.Kind == job.KindStep, e.Kind == job.KindState:
		t.stop()
	}
}

func (t *loadingTimer) stop() {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer, t.c = nil, nil
}

func (t *loadingTimer) failure(limit time.Duration) *failure {
	return &failure{kind: loading, detail: fmt.Sprintf("The model is being loaded: %.0f %% after %v", t.percent, limit)}
}

// goOnLoading cancels a job whose client has gone once its model is loaded: else a model that takes longer than any
// client waits would never be.
func (s *Server) goOnLoading(id string) {
	s.loads.Go(func() {
		ctx, unwatch := context.WithCancel(s.leaving)
		defer unwatch()
		events, err := s.queue.Watch(ctx, id, 0)
		if err == nil {
			for e := range events {
				if e.Kind == job.KindStep {
					break
				}
			}
		}
		if err := s.cancel([]string{id}, nil); err != nil {
			s.config.Log.Warn("a job whose client has gone can't be cancelled", slog.String("job", id), slog.String("error", err.Error()))
		}
	})
}
