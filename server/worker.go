package server

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// Pauses between attempts to load what was lost: the first, doubled up to the longest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// worker is a device with an engine on it. The request that acquired it from the queue computes on it.
type worker struct {
	index int

	// mu guards what follows. The holder of the worker writes it; others read it under mu, so that the engine is not
	// closed meanwhile.
	mu     sync.RWMutex
	name   string        // of the device; may be ""
	engine engine.Engine // nil until loaded, and while lost
	lost   bool          // it was loaded once, and failed
}

// closeEngine frees the models. Who asks for facts meanwhile is not held up.
func (w *worker) closeEngine() error {
	w.mu.Lock()
	e := w.engine
	w.engine = nil
	w.mu.Unlock()
	if e == nil {
		return nil
	}
	return e.Close()
}

// failed tells whether the worker's device failed and that is not being mended yet.
func (w *worker) failed() bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.engine != nil && w.engine.Lost() != nil
}

// attrs names the worker's device, if it has a name, before other attributes.
func (w *worker) attrs(more ...any) []any {
	name := w.device()
	if name == "" {
		return more
	}
	return append([]any{slog.String("device", name)}, more...)
}

// device is the name of the worker's device.
func (w *worker) device() string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.name
}

// load opens the models on a worker's device and lets the worker take work.
func (s *Server) load(w *worker) error {
	began := time.Now()
	e, err := s.config.Load(w.index)
	if err != nil {
		if name := w.device(); name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	}
	s.costs.set(w.index, e.Costs()) // before a request can see the engine
	s.mu.Lock()
	closed := s.closed
	if !closed {
		w.mu.Lock()
		w.engine, w.lost = e, false
		if name := e.DeviceName(); name != "" {
			w.name = name
		}
		w.mu.Unlock()
	}
	s.mu.Unlock()
	if closed {
		return e.Close()
	}
	for _, spec := range []*sdxl.Spec{s.config.Specs.Base, s.config.Specs.Refiner} {
		if spec != nil {
			info := spec.Info()
			s.config.Log.Info("model loaded", w.attrs(slog.String("model", info.Path), slog.Int64("parameters", info.Parameters),
				slog.Duration("duration", time.Since(began)))...)
		}
	}
	s.logLimits(w, e.Costs())
	s.queue.add(w.index)
	return nil
}

// release gives a worker back to the queue. A lost one is loaded again first.
func (s *Server) release(w *worker) {
	cause := w.engine.Lost()
	if cause == nil {
		s.queue.release(w.index)
		return
	}
	s.config.Log.Error("device lost", w.attrs(slog.String("error", cause.Error()))...)
	s.recovering.Go(func() { s.recover(w) })
}

// recover closes what a failed device held and loads it again, until that succeeds or the server ends. Requests in the queue wait
// for the first attempt; if that fails and no other device works, they are answered.
func (s *Server) recover(w *worker) {
	w.mu.Lock()
	w.lost = true
	w.mu.Unlock()
	if err := w.closeEngine(); err != nil {
		s.config.Log.Warn("closing the models of a lost device", w.attrs(slog.String("error", err.Error()))...)
	}
	for pause := firstPause; s.stopped.Err() == nil; pause = min(2*pause, longestPause) {
		err := s.load(w)
		if err == nil {
			return
		}
		s.config.Log.Error("device still lost", w.attrs(slog.String("error", err.Error()), slog.Duration("again_in", pause))...)
		s.queue.markDown(w.index)
		select {
		case <-time.After(pause):
		case <-s.stopped.Done():
		}
	}
}

// recoverIdle loads those workers again that were lost while no request computed on them, as when the system killed an
// engine's process.
func (s *Server) recoverIdle() {
	for _, w := range s.workers {
		if w.failed() && s.queue.tryAcquire(w.index) {
			s.release(w)
		}
	}
}

// ready returns the reason why no work is taken, nil if it is.
func (s *Server) ready() error {
	if s.draining.Load() || s.stopped.Err() != nil {
		return &failure{kind: stopping}
	}
	s.recoverIdle()
	lost := false
	for _, w := range s.workers {
		switch w.state() {
		case "ready":
			return nil
		case "lost":
			lost = true
		}
	}
	if lost {
		return &failure{kind: deviceLost}
	}
	return &failure{kind: loading}
}

// state says whether a worker takes work: loading, ready or lost.
func (w *worker) state() string {
	w.mu.RLock()
	defer w.mu.RUnlock()
	switch {
	case w.engine != nil && w.engine.Lost() == nil:
		return "ready"
	case w.engine != nil || w.lost:
		return "lost"
	}
	return "loading"
}

// health says of each device that has a name what its state is.
func (s *Server) health() map[string]string {
	states := map[string]string{}
	for _, w := range s.workers {
		if name := w.device(); name != "" {
			states[name] = w.state()
		}
	}
	return states
}
