package server

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// Pauses between attempts to load what was lost: the first, doubled up to the longest.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// worker is a device with the models on it. The request that acquired it from the queue computes on it.
type worker struct {
	index int

	// mu guards what follows. The holder of the worker writes it; others read it under mu, so that the engine is not
	// closed meanwhile.
	mu      sync.RWMutex
	name    string // of the device; may be ""
	engine  Engine // nil until loaded, and while lost
	refiner Engine // nil until first needed
	lost    bool   // it was loaded once, and failed
}

// closeModels frees the models. Who asks for facts meanwhile is not held up.
func (w *worker) closeModels() error {
	w.mu.Lock()
	engine, refiner := w.engine, w.refiner
	w.engine, w.refiner = nil, nil
	w.mu.Unlock()
	var errs []error
	for _, e := range []Engine{refiner, engine} { // the refiner may share the base's weights
		if e != nil {
			errs = append(errs, e.Close())
		}
	}
	return errors.Join(errs...)
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

// load opens the model on a worker's device and lets the worker take work.
func (s *Server) load(w *worker) error {
	began := time.Now()
	engine, err := s.config.Load(w.index)
	if err != nil {
		if name := w.device(); name != "" {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	}
	s.costs.set(w.index, engine) // before a request can see the engine
	s.mu.Lock()
	closed := s.closed
	if !closed {
		w.mu.Lock()
		w.engine, w.lost = engine, false
		if name := engine.DeviceName(); name != "" {
			w.name = name
		}
		w.mu.Unlock()
	}
	s.mu.Unlock()
	if closed {
		return engine.Close()
	}
	info := engine.Info()
	s.config.Log.Info("model loaded", w.attrs(slog.String("model", info.Path), slog.Int64("parameters", info.Parameters),
		slog.Duration("duration", time.Since(began)))...)
	s.logLimits(w, info, []sdxl.Cost{engine.Cost()})
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
	if err := w.closeModels(); err != nil {
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

// withEngine calls do with the engine of any device that works, which is not closed meanwhile.
func (s *Server) withEngine(do func(Engine) error) error {
	if s.draining.Load() || s.stopped.Err() != nil {
		return &failure{kind: stopping}
	}
	s.recoverIdle()
	lost := false
	for _, w := range s.workers {
		w.mu.RLock()
		if w.engine != nil && w.engine.Lost() == nil {
			defer w.mu.RUnlock()
			return do(w.engine)
		}
		lost = lost || w.lost || w.engine != nil
		w.mu.RUnlock()
	}
	if lost {
		return &failure{kind: deviceLost}
	}
	return &failure{kind: loading}
}

// ready returns the reason why no work is taken, nil if it is.
func (s *Server) ready() error { return s.withEngine(func(Engine) error { return nil }) }

// health says of each device that has a name whether it takes work.
func (s *Server) health() map[string]string {
	states := map[string]string{}
	for _, w := range s.workers {
		w.mu.RLock()
		state := "loading"
		switch {
		case w.engine != nil && w.engine.Lost() == nil:
			state = "ready"
		case w.engine != nil || w.lost:
			state = "lost"
		}
		name := w.name
		w.mu.RUnlock()
		if name != "" {
			states[name] = state
		}
	}
	return states
}
