package server

import (
	"context"
	"net/http"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/worker"
)

// traceparent is the header by which W3C's trace context travels, and what a job's Trace is.
const traceparent = "traceparent"

// traces make spans of requests and of jobs: a request, below it the job that it made, below that each wait in the queue
// and each attempt, with its steps as events, and below an attempt the encoding of its images. nil makes none.
type traces struct {
	tracer trace.Tracer

	mu    sync.Mutex
	known map[string]*jobSpans // of jobs that have not ended
}

// jobSpans are those of a job that are open.
type jobSpans struct {
	state    job.State
	ctx      context.Context // with the job's span
	job      trace.Span
	part     trace.Span      // the wait or the attempt
	attempts context.Context // with part
}

func newTraces(p trace.TracerProvider, version string) *traces {
	if p == nil {
		return nil
	}
	return &traces{
		tracer: p.Tracer("github.com/goxl/goxl/server", trace.WithInstrumentationVersion(version)),
		known:  map[string]*jobSpans{},
	}
}

// untraced are the routes that are asked every few seconds and tell nothing by it.
var untraced = map[string]bool{"/healthz": true, "/readyz": true, "/metrics": true}

// begin opens the span of a request, below the client's own if the request names one.
func (t *traces) begin(r *http.Request) *http.Request {
	if t == nil || untraced[r.URL.Path] {
		return r
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, _ = t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", r.Method)))
	return r.WithContext(ctx)
}

// end closes the span of a request that was answered.
func (t *traces) end(x *exchange) {
	if t == nil || untraced[x.r.URL.Path] {
		return
	}
	span := trace.SpanFromContext(x.r.Context())
	span.SetName(x.r.Method + " " + x.route())
	span.SetAttributes(attribute.String("http.route", x.route()), attribute.Int("http.response.status_code", x.status))
	if x.job != "" {
		span.SetAttributes(attribute.String("goxl.job.id", x.job))
	}
	if x.status >= http.StatusInternalServerError && x.err != nil {
		span.SetStatus(codes.Error, x.err.Error())
	}
	span.End()
}

// traceOf is a job's Trace: the span of the request that makes it, "" if there is none.
func traceOf(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier[traceparent]
}

// observe follows a job. The queue calls it, locked.
func (t *traces) observe(j *job.Job, e job.Event) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.known[j.ID]
	switch {
	case e.Kind == job.KindStep && s != nil:
		s.part.AddEvent("step", trace.WithTimestamp(e.Time), trace.WithAttributes(attribute.Int("goxl.step", e.Step), attribute.Int("goxl.steps", e.Steps)))
	case e.Kind == job.KindLoading && s != nil:
		s.part.AddEvent("loading", trace.WithTimestamp(e.Time), trace.WithAttributes(attribute.Float64("goxl.percent", e.Percent)))
	case e.Kind != job.KindState || s != nil && s.state == e.State: // another position is no other state
	default:
		t.enter(j, e, s)
	}
}

// enter follows a job that has got another state, or is new.
func (t *traces) enter(j *job.Job, e job.Event, s *jobSpans) {
	began := e.Time
	if s == nil {
		began = j.Created
		s = &jobSpans{}
		parent := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceparent: j.Trace})
		s.ctx, s.job = t.tracer.Start(parent, "job", trace.WithTimestamp(began), trace.WithAttributes(
			attribute.String("goxl.job.id", j.ID), attribute.String("goxl.job.api", j.API),
			attribute.String("goxl.job.task", j.Task), attribute.String("goxl.job.model", j.Model)))
		t.known[j.ID] = s
	} else {
		fails(s.part, e)
		s.part.End(trace.WithTimestamp(e.Time))
	}
	s.state = e.State
	switch {
	case e.State.Ended():
		delete(t.known, j.ID)
		s.job.SetAttributes(attribute.String("goxl.job.state", string(e.State)))
		fails(s.job, e)
		s.job.End(trace.WithTimestamp(e.Time))
	case e.State == job.Running:
		s.attempts, s.part = t.tracer.Start(s.ctx, "run", trace.WithTimestamp(began), trace.WithAttributes(attribute.Int("goxl.job.attempt", j.Attempts)))
	default:
		_, s.part = t.tracer.Start(s.ctx, "queue", trace.WithTimestamp(began))
	}
}

// fails gives a span the error that its job has now. That of a cancelled one is somebody's wish.
func fails(span trace.Span, e job.Event) {
	if e.Error != nil && e.State != job.Cancelled {
		span.SetStatus(codes.Error, e.Error.Kind) // the words may be about the request
	}
}

// kept makes the span of images that were encoded. The worker calls it before the job is done.
func (t *traces) kept(a worker.Attempt) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.known[a.Job]
	if s == nil || s.state != job.Running { // cancelled meanwhile
		return
	}
	s.part.SetAttributes(attribute.String("goxl.device", a.Device), attribute.Int("goxl.images", a.Images))
	_, span := t.tracer.Start(s.attempts, "encode", trace.WithTimestamp(a.Computed))
	span.End(trace.WithTimestamp(a.Kept))
}
