package server

import (
	"context"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/goxl/goxl/models/sdxl"
)

// tree writes spans down as they lie in one another, those of one parent by their beginning.
func tree(spans tracetest.SpanStubs, began time.Time) string {
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	var b strings.Builder
	var below func(parent, indent string)
	below = func(parent, indent string) {
		for _, s := range spans {
			if s.Parent.SpanID().String() != parent {
				continue
			}
			at := func(t time.Time) time.Duration { return t.Sub(began) }
			fmt.Fprintf(&b, "%s%s %v-%v", indent, s.Name, at(s.StartTime), at(s.EndTime))
			for _, e := range s.Events {
				fmt.Fprintf(&b, " %s@%v", e.Name, at(e.Time))
			}
			if s.Status.Description != "" {
				fmt.Fprintf(&b, " error: %s", s.Status.Description)
			}
			b.WriteString("\n")
			below(s.SpanContext.SpanID().String(), indent+" ")
		}
	}
	below("00f067aa0ba902b7", "")
	below("0000000000000000", "without parent: ")
	return b.String()
}

// A request that names its client's span gets one below that, and its job, its waits and attempts below its own. A client
// that is not traced gets its own. Nothing is remembered of jobs that have ended.
func TestTraces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		attempts := 0
		_, change := newFleet(t, func(_, _ int, e *fakeEngine) func(context.Context, sdxl.Request) error {
			return func(_ context.Context, r sdxl.Request) error {
				for i := range 2 {
					time.Sleep(time.Second)
					r.Progress(sdxl.Progress{Step: i + 1, Steps: 2})
				}
				if attempts++; attempts == 2 {
					e.lost.Store(&errFault)
					return errFault
				}
				return nil
			}
		})
		b := loadedBench(t, func(c *Config) {
			change(c)
			c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
		})
		began := time.Now()
		send := func(parent string) <-chan *httptest.ResponseRecorder {
			answer := make(chan *httptest.ResponseRecorder, 1)
			go func() {
				r := httptest.NewRequest("POST", "/generate", strings.NewReader(plain))
				r.Header.Set("Content-Type", "application/json")
				if parent != "" {
					r.Header.Set("Traceparent", parent)
				}
				w := httptest.NewRecorder()
				b.ServeHTTP(w, r)
				answer <- w
			}()
			return answer
		}
		first := send("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		synctest.Wait()
		second := send("")
		synctest.Wait()
		for _, path := range []string{"/healthz", "/readyz", "/download/x"} {
			b.do("GET", path, "")
		}
		id(t, <-first)
		id(t, <-second)
		want := `POST /generate 0s-2s
 job 0s-2s
  queue 0s-0s
  run 0s-2s step@1s step@2s
   encode 2s-2s
without parent: GET /download/{id} 0s-0s
without parent: POST /generate 0s-6s
without parent:  job 0s-6s
without parent:   queue 0s-2s
without parent:   run 2s-4s step@3s step@4s error: device_failed
without parent:   queue 4s-4s
without parent:   run 4s-6s step@5s step@6s
without parent:    encode 6s-6s
`
		if got := tree(exporter.GetSpans(), began); got != want {
			t.Errorf("spans\n%swant\n%s", got, want)
		}
		for _, s := range exporter.GetSpans() {
			if s.Name == "job" && s.Parent.SpanID().String() != "00f067aa0ba902b7" && s.Parent.TraceID() != s.SpanContext.TraceID() {
				t.Errorf("job has the trace %v, its request %v", s.SpanContext.TraceID(), s.Parent.TraceID())
			}
		}
		if len(b.traces.known) != 0 {
			t.Errorf("jobs that are remembered: %v", b.traces.known)
		}
	})
}

// A job's record has the span of the request that made it, so that the next process goes on below it; without a tracer
// there is none, whatever the client sends.
func TestTraceOfJob(t *testing.T) {
	for _, traced := range []bool{true, false} {
		exporter := tracetest.NewInMemoryExporter()
		b := loadedBench(t, func(c *Config) {
			if traced {
				c.Tracer = sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
			}
		})
		r := httptest.NewRequest("POST", "/v1/jobs", strings.NewReader(plain))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		j, err := b.journal.Get(decodeJob(t, w, 202).ID)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		if traced {
			request := exporter.GetSpans()[slices.IndexFunc(exporter.GetSpans(), func(s tracetest.SpanStub) bool { return s.Name == "POST /v1/jobs" })]
			want = "00-4bf92f3577b34da6a3ce929d0e0e4736-" + request.SpanContext.SpanID().String() + "-01"
		}
		if j.Trace != want {
			t.Errorf("traced %v: %q, want %q", traced, j.Trace, want)
		}
		b.finished(t, j.ID)
	}
}
