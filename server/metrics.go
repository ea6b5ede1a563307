package server

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// Buckets of histograms, in seconds. A step takes milliseconds on a card and seconds on a CPU; a job waits for none or
// for hundreds of others.
var (
	stepBuckets  = []float64{.005, .01, .02, .03, .05, .075, .1, .15, .25, .5, 1, 2.5, 5, 10, 30, 60}
	stageBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	waitBuckets  = []float64{.01, .05, .1, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600}
	loadBuckets  = []float64{.1, .5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600}
	batchBuckets = []float64{1, 2, 3, 4, 6, 8, 12, 16, 32, 64} // jobs
	httpBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
)

// metrics are a server's, in a registry of their own. Labels are the server's own words, never a client's, so that no
// client can make more of them.
type metrics struct {
	registry *prometheus.Registry

	submitted   *prometheus.CounterVec // by model and API
	ended       *prometheus.CounterVec // by state, model and API
	jobs        *prometheus.GaugeVec   // by state
	retries     *prometheus.CounterVec // by reason
	images      *prometheus.CounterVec // by model
	wait        prometheus.Histogram
	duration    *prometheus.HistogramVec // by state
	stages      *prometheus.HistogramVec // by stage
	steps       *prometheus.HistogramVec // by model
	batches     *prometheus.HistogramVec // by device
	loads       *prometheus.HistogramVec // by device
	engineFails *prometheus.CounterVec   // by device

	requests *prometheus.CounterVec   // by route, method and code
	took     *prometheus.HistogramVec // by route and method
	inFlight prometheus.Gauge

	mu      sync.Mutex
	takenUp bool                 // the jobs of a former process are known; others are submitted
	known   map[string]*progress // jobs that have not ended
}

// progress is what the metrics remember of a job.
type progress struct {
	model    string
	state    job.State
	attempts int       // those that count, with the one that runs
	since    time.Time // of the state
	first    time.Time // step of the attempt; zero before
	last     time.Time // step of the attempt; zero before
}

func newMetrics(version string) *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), known: map[string]*progress{}}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return add(m, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return add(m, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
	}
	m.submitted = counter("goxl_jobs_submitted_total", "Jobs that were accepted, by model and the route that made them.", "model", "api")
	m.ended = counter("goxl_jobs_total", "Jobs that have ended, by state (done, failed, cancelled), model and the route that made them.", "state", "model", "api")
	m.jobs = add(m, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "goxl_jobs", Help: "Jobs that have not ended, by state (queued, running, interrupted)."}, []string{"state"}))
	m.retries = counter("goxl_job_retries_total", "Attempts at jobs that ended without a result and are followed by another, by reason.", "reason")
	m.images = counter("goxl_images_total", "Images that were brought to the disk.", "model")
	m.wait = add(m, prometheus.NewHistogram(prometheus.HistogramOpts{Name: "goxl_job_wait_seconds", Help: "Time that jobs waited for a device, before each attempt.", Buckets: waitBuckets}))
	m.duration = histogram("goxl_job_duration_seconds", "Time from a job's acceptance to its end.", waitBuckets, "state")
	m.stages = histogram("goxl_job_stage_seconds", "Time of the stages of attempts that gave images: prepare (until the first step is done: inputs, prompts, loading of models), denoise (the other steps), decode (until the device has the images), encode (until they are on the disk).", stageBuckets, "stage")
	m.steps = histogram("goxl_step_seconds", "Time between two steps of a job.", stepBuckets, "model")
	m.batches = histogram("goxl_batch_jobs", "Jobs that a device of this process computed together, by device.", batchBuckets, "device")
	m.loads = histogram("goxl_engine_load_seconds", "Time that opening the models on a device took.", loadBuckets, "device")
	m.engineFails = counter("goxl_engine_failures_total", "Engines that failed or died, by device.", "device")
	m.requests = counter("goxl_http_requests_total", "HTTP requests that were answered, by the pattern of their route.", "route", "method", "code")
	m.took = histogram("goxl_http_request_duration_seconds", "Time until HTTP requests were answered, by the pattern of their route.", httpBuckets, "route", "method")
	m.inFlight = add(m, prometheus.NewGauge(prometheus.GaugeOpts{Name: "goxl_http_requests_in_flight", Help: "HTTP requests that are being answered."}))
	for _, s := range []job.State{job.Queued, job.Running, job.Interrupted} {
		m.jobs.WithLabelValues(string(s)) // so that there is a 0: Prometheus sees no increase to the first value
	}
	for _, reason := range []string{worker.KindDeviceFailed, worker.KindTooLarge, job.KindProcessDied} {
		m.retries.WithLabelValues(reason)
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "goxl_build_info", Help: "1, with the program's version and Go's."}, []string{"version", "goversion"})
	add(m, build).WithLabelValues(version, runtime.Version()).Set(1)
	add(m, collectors.NewGoCollector())
	add(m, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// add registers a collector. Two of one name are a mistake in this file.
func add[C prometheus.Collector](m *metrics, c C) C {
	m.registry.MustRegister(c)
	return c
}

// handler answers with what Prometheus reads.
func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

func (s *Server) metricsPage(x *exchange) error {
	if !s.config.Metrics {
		return &failure{kind: notFound}
	}
	s.metrics.handler().ServeHTTP(x, x.r)
	return nil
}
