package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/job/blob"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/worker"
)

// Server is an [http.Handler].
type Server struct {
	config Config
	routes *http.ServeMux
	store  *images
	costs  costs

	metrics *metrics
	traces  *traces

	journal *job.Journal
	queue   *job.Queue
	pool    *worker.Pool

	newID   func() (string, error) // a fresh id for an image
	newSeed func() uint64

	guard
	tls *tls.Config // nil is plain HTTP

	loadingWait time.Duration  // for which a client that waits for its image waits for a model that is loaded
	loads       sync.WaitGroup // of models whose client has gone

	hosts    map[string]bool // Config.AllowedHosts
	loopback atomic.Bool     // it listens on a loopback address

	draining atomic.Bool
	leaving  context.Context // ends when the server begins to drain
	leave    context.CancelFunc
	active   atomic.Int64    // requests that wait for an image
	stopped  context.Context // ends when computations must; its cause is errStopped
	stop     context.CancelCauseFunc

	decoding chan struct{} // holds one for each image that is decoded for a client
	large    chan struct{} // holds one for each large body that is in memory

	sources sources    // of requests under way
	kinds   modelKinds // of files that requests may name

	sdapi sdState // of A1111's API
	made  apiDocs

	closing sync.Once
	closed  error // what Close gave
}

// route is what a method of a path is answered by.
type route struct {
	method, path string
	handle       handler
}

// table is every route. Each has its description in operations.
func (s *Server) table() []route {
	return append(s.sdRoutes(), []route{
		{"POST", "/generate", s.generate},
		{"POST", "/refine", s.refine},
		{"GET", "/download/{id}", s.download},
		{"GET", "/download/{id}/thumbnail", s.thumbnail},
		{"POST", "/v1/jobs", s.createJob},
		{"GET", "/v1/jobs", s.listJobs},
		{"POST", "/v1/jobs/cancel", s.cancelJobs},
		{"GET", "/v1/jobs/{id}", s.getJob},
		{"DELETE", "/v1/jobs/{id}", s.deleteJob},
		{"GET", "/v1/jobs/{id}/events", s.jobEvents},
		{"POST", "/v1/jobs/{id}/interrupt", s.interruptJob},
		{"POST", "/v1/images", s.uploadImage},
		{"POST", "/v1/preprocess", s.preprocess},
		{"GET", "/v1/queue", s.queueState},
		{"POST", "/v1/images/generations", s.imageGenerations},
		{"POST", "/v1/images/edits", s.imageEdits},
		{"GET", "/v1/models", s.listModels},
		{"GET", "/v1/models/{id...}", s.getModel},
		{"GET", "/v1/session", s.getSession},
		{"POST", "/v1/session", s.beginSession},
		{"DELETE", "/v1/session", s.endSession},
		{"GET", "/v1/options", s.listOptions},
		{"GET", "/{$}", s.servePage},
		{"GET", "/page/{file}", s.servePage},
		{"GET", "/openapi.json", s.openAPI},
		{"GET", "/docs", s.docs},
		{"GET", "/docs/{file}", s.docs},
		{"GET", "/healthz", s.healthz},
		{"GET", "/readyz", s.readyz},
		{"GET", "/metrics", s.metricsPage},
	}...)
}

func newServer(c Config) *Server {
	s := &Server{
		config: c,
		routes: http.NewServeMux(),
		store:  newImages(c.Images),

		metrics: newMetrics(c.Version),
		traces:  newTraces(c.Tracer, c.Version),

		newID:   blob.NewID,
		newSeed: sdxl.RandomSeed,

		loadingWait: longestLoading,

		decoding: make(chan struct{}, mostDecoded),
		large:    make(chan struct{}, mostLarge),
	}
	allowed := map[string][]string{} // methods by path
	add(s.metrics, stateMetrics{s})
	s.leaving, s.leave = context.WithCancel(context.Background())
	s.stopped, s.stop = context.WithCancelCause(context.Background())
	for _, r := range s.table() {
		s.routes.Handle(r.method+" "+r.path, r.handle)
		allowed[r.path] = append(allowed[r.path], r.method)
		if r.method == http.MethodGet {
			allowed[r.path] = append(allowed[r.path], http.MethodHead) // the mux gives HEAD to the handler of GET
		}
	}
	delete(allowed, "/v1/jobs/cancel") // which by another method is a job's id
	for path, methods := range allowed {
		allow := strings.Join(methods, ", ")
		s.routes.Handle(path, handler(func(x *exchange) error {
			x.Header().Set("Allow", allow)
			return &failure{kind: wrongMethod}
		}))
	}
	s.routes.Handle("/", handler(func(*exchange) error { return &failure{kind: notFound} }))
	return s
}

// ServeHTTP answers one request and logs one record of it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = s.traces.begin(r)
	x := s.exchange(w, r)
	defer s.traces.end(x)
	defer s.letGo(x)
	defer x.release()
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	defer x.settle()
	defer x.record()
	defer x.count(s.metrics)
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			x.fail(fmt.Errorf("panic: %v\n%s", p, strings.TrimSpace(string(debug.Stack()))))
		}
	}()
	host := r.Host // before a proxy's word for it counts
	r, under := s.below(x, r)
	// What the mux would answer by itself is no JSON: other spellings of a path, which it redirects, and what it can't
	// route at all.
	route, pattern := s.routes.Handler(r)
	routed := under && r.RequestURI != "*" && isHandler(route)
	if routed {
		x.pattern = pattern // also of what is refused before it gets there
	}
	if err := s.checkHost(host); err != nil {
		x.fail(err)
		return
	}
	if !under && s.redirectBase(x) || under && s.cors.allow(x, r) {
		return
	}
	if !routed {
		x.fail(&failure{kind: notFound})
		return
	}
	if err := s.authenticate(x, r, pattern); err != nil {
		x.fail(err)
		return
	}
	s.routes.ServeHTTP(x, r)
}

func isHandler(h http.Handler) bool {
	_, ok := h.(handler)
	return ok
}

// healthView says that the process lives, or that it takes work.
type healthView struct {
	Status  string                  `json:"status"`
	Devices map[string]worker.State `json:"devices,omitempty"`
}

func (s *Server) healthz(x *exchange) error {
	return x.reply(http.StatusOK, healthView{Status: "ok"})
}

func (s *Server) readyz(x *exchange) error {
	if err := s.ready(); err != nil {
		return err
	}
	if err := s.store.probe(); err != nil { // 503 whatever a request for an image would get: that is what is asked here
		return &failure{kind: storeBroken, detail: classify(err).words(), err: err}
	}
	if err := s.journal.Present(); err != nil {
		return &failure{kind: journalBroken, err: err}
	}
	return x.reply(http.StatusOK, healthView{"ready", s.health()})
}

// ready returns the reason why no work is taken, nil if it is.
func (s *Server) ready() error {
	if s.draining.Load() || s.stopped.Err() != nil {
		return &failure{kind: stopping}
	}
	s.pool.Check()
	states := s.pool.States()
	switch {
	case slices.Contains(states, worker.Ready), s.remoteReady():
		return nil
	case len(states) == 0:
		return &failure{kind: noWorker}
	case slices.Contains(states, worker.Lost):
		return &failure{kind: deviceLost}
	}
	return &failure{kind: loading}
}
