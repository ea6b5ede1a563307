package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// Pauses before a model that could not be loaded is tried again: the first, doubled up to the longest. Jobs that come
// meanwhile get the same error.
const (
	firstPause   = time.Second
	longestPause = time.Minute
)

// Opening is a model that a [Several] opens.
type Opening struct {
	Name   string
	Folder string // where it lies, which errors that jobs get do not name; "" is nowhere
	Bytes  int64  // of the host's memory that it is taken to need while it is open
	// Open opens the model on its device. onLoad is called, then and later, with the bytes of its weights that were
	// read, of how many in all.
	Open func(ctx context.Context, onLoad func(done, total int64)) (Engine, error)
}

// SeveralConfig says what a [Several] does.
type SeveralConfig struct {
	Models []Opening // at least one; the names must differ
	Memory int64     // most Bytes of the models that are open at once, beside the one that computes; 0 is no limit
	// Lost says why the device can compute nothing any more, nil while it can: with every model closed, none tells.
	// Without it, the open models alone are asked.
	Lost      func() error
	Host      *sdxl.Host    // the device's, where images are enlarged without a model; nil has the first model do it
	Precision kernels.DType // of what enlarges them on Host; 0 is the device's own

	Now func() time.Time
	Log *slog.Logger // nil discards
}

// Several is an engine of several models on one device. A model is opened by the first job that names it; those that no
// job has used for longest are closed where Memory has no room for all.
type Several struct {
	config SeveralConfig
	device string
	change chan struct{} // holds one token; who opens or closes a model has it

	mu     sync.Mutex
	models map[string]*kept
	costs  Costs
	begun  bool   // the first model was opened
	clock  uint64 // counts uses
	freed  chan struct{}
}

// kept is a model of a Several. What follows Opening is guarded by Several.mu.
type kept struct {
	Opening
	engine  Engine // nil while it is closed
	jobs    int    // that use it
	used    uint64 // the last use
	reading bool   // it is opened, or a job reads weights
	percent float64
	tell    func(percent float64) // of the job that reads weights; nil is nobody

	failed error // nil if the last attempt to open it went well
	again  time.Time
	pause  time.Duration
}

// NewSeveral returns an engine with the first model open, or why that can't be.
func NewSeveral(ctx context.Context, c SeveralConfig) (*Several, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Several{config: c, change: make(chan struct{}, 1), models: map[string]*kept{}, freed: make(chan struct{})}
	s.costs.Models = map[string]Costs{}
	for _, o := range c.Models {
		if s.models[o.Name] != nil {
			return nil, fmt.Errorf("engine: two models are called %q: their names must differ", o.Name)
		}
		s.models[o.Name] = &kept{Opening: o}
	}
	if len(c.Models) == 0 {
		return nil, errors.New("engine: there is no model: must be at least one")
	}
	first := s.models[c.Models[0].Name]
	e, err := s.acquire(ctx, first, nil)
	if err != nil {
		return nil, err
	}
	s.device = e.DeviceName()
	s.release(first)
	return s, nil
}

// Generate does a job on the model that it names.
func (s *Several) Generate(ctx context.Context, j Job) (*sdxl.Result, error) {
	if j.Upscale != nil {
		return s.upscale(ctx, j)
	}
	m, err := s.model(j.Name)
	if err != nil {
		return nil, err
	}
	e, err := s.acquire(ctx, m, j.OnLoading)
	if err != nil {
		return nil, err
	}
	defer s.release(m)
	return e.Generate(ctx, s.own(m, j))
}

// model is the one of a name; "" is the first.
func (s *Several) model(name string) (*kept, error) {
	m := s.models[cmp.Or(name, s.config.Models[0].Name)]
	if m == nil {
		return nil, &sdxl.RequestError{Field: "model", Value: name, Allowed: "one of " + strings.Join(s.names(), ", ")}
	}
	return m, nil
}

// own is a job as the engine of its model has it, whose first step says that the model is read.
func (s *Several) own(m *kept, j Job) Job {
	progress := j.Request.Progress
	j.Request.Progress = func(at sdxl.Progress) {
		s.isRead(m) // what is read later, as the VAE, is no state of its own
		if progress != nil {
			progress(at)
		}
	}
	j.Name, j.OnLoading = "", nil
	return j
}

func (s *Several) names() (list []string) {
	for _, o := range s.config.Models {
		list = append(list, o.Name)
	}
	return list
}

// acquire returns a model's engine, opened if need be, for a job; release follows.
func (s *Several) acquire(ctx context.Context, m *kept, tell func(float64)) (Engine, error) {
	select {
	case s.change <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.change }()
	s.mu.Lock()
	e := m.engine
	if e == nil && m.failed != nil && s.config.Now().Before(m.again) {
		defer s.mu.Unlock()
		return nil, m.failed
	}
	if e != nil {
		s.use(m, tell)
	}
	s.mu.Unlock()
	if e != nil {
		return e, nil
	}
	if err := s.makeRoom(ctx, m); err != nil {
		return nil, err
	}
	return s.open(ctx, m, tell)
}

// use counts a job. The caller holds mu.
func (s *Several) use(m *kept, tell func(float64)) {
	s.clock++
	m.jobs, m.used, m.tell = m.jobs+1, s.clock, tell
}

// open opens a model for a job. The caller has the token.
func (s *Several) open(ctx context.Context, m *kept, tell func(float64)) (Engine, error) {
	began := s.config.Now()
	s.mu.Lock()
	m.reading, m.percent = true, 0
	s.mu.Unlock()
	if tell != nil {
		tell(0)
	}
	e, err := m.Open(ctx, func(done, total int64) { s.read(m, done, total) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		m.reading = false
		if ctx.Err() != nil || !s.begun { // nobody waits any more, which says nothing of the model; or NewSeveral fails
			return nil, err
		}
		m.pause = min(max(firstPause, 2*m.pause), longestPause)
		m.again = s.config.Now().Add(m.pause)
		m.failed = &LoadError{m.Name, within(err, m.Folder)}
		s.config.Log.Error("model can't be loaded", slog.String("model", m.Name), slog.String("error", err.Error()), slog.Duration("again_in", m.pause))
		return nil, m.failed
	}
	m.engine, m.failed, m.pause, s.begun = e, nil, 0, true
	costs := e.Costs()
	s.costs.Models = maps.Clone(s.costs.Models) // others have the map
	s.costs.Models[m.Name], s.costs.FLOPS = costs, costs.FLOPS
	if m.Name == s.config.Models[0].Name {
		s.costs.Base, s.costs.Refiner = costs.Base, costs.Refiner
	}
	s.use(m, tell)
	s.config.Log.Info("model opened", slog.String("model", m.Name), slog.Duration("duration", s.config.Now().Sub(began)))
	return e, nil
}

// read notes how many bytes of a model's weights were read, and tells the job that waits for them in whole percents.
func (s *Several) read(m *kept, done, total int64) {
	percent := float64(100 * done / max(1, total))
	s.mu.Lock()
	tell := m.tell
	if !m.reading || percent <= m.percent {
		tell = nil
	} else {
		m.percent = percent
	}
	s.mu.Unlock()
	if tell != nil {
		tell(percent)
	}
}

// isRead notes that what a model needs for its steps is there.
func (s *Several) isRead(m *kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.reading = false
}

// release ends what acquire began.
func (s *Several) release(m *kept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.jobs--
	m.reading, m.tell = false, nil
	close(s.freed)
	s.freed = make(chan struct{})
}

// Close closes the models that are open.
func (s *Several) Close() error {
	s.mu.Lock()
	var open []Engine
	for _, m := range s.models {
		if m.engine != nil {
			open = append(open, m.engine)
			m.engine = nil
		}
	}
	s.mu.Unlock()
	var errs []error
	for _, e := range open {
		errs = append(errs, e.Close())
	}
	return errors.Join(append(errs, s.closeUpscaler())...)
}
