package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// reporting is an engine that tells what it has taken of its device.
type reporting struct {
	pair
	usage engine.Usage
}

func (r reporting) Usage() (engine.Usage, bool) { return r.usage, true }

// expose compares some of a server's metrics with what they must be, in Prometheus' text form without HELP.
func (b *bench) expose(t *testing.T, want string) {
	t.Helper()
	names := map[string]bool{}
	var full, list []string
	for line := range strings.Lines(want) {
		name := strings.FieldsFunc(strings.TrimPrefix(strings.TrimSpace(line), "# TYPE "), func(r rune) bool { return r == ' ' || r == '{' })[0]
		if strings.HasPrefix(strings.TrimSpace(line), "# TYPE ") {
			names[name] = true
			list = append(list, name)
		}
		full = append(full, strings.TrimSpace(line))
	}
	w := httptest.NewRecorder()
	b.metrics.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	var got []string
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimSpace(line)
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " ")
		name, _, _ = strings.Cut(name, "{")
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			if whole, cut := strings.CutSuffix(name, part); cut && names[whole] {
				name = whole
			}
		}
		if names[name] && !strings.HasPrefix(line, "# HELP") && !strings.Contains(line, "_bucket{") {
			got = append(got, line)
		}
	}
	if g, w := strings.Join(got, "\n"), strings.TrimSpace(strings.Join(full, "\n")); g != w {
		t.Errorf("metrics %s:\n%s\nwant\n%s", list, g, w)
	}
}

// Jobs are counted by what becomes of them, whoever asked, and their steps and stages are timed.
func TestMetricsOfJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.MaxBatch = 4 })
		b.base.run = func(_ context.Context, r sdxl.Request) error {
			if r.Prompt == "fault" {
				return errors.New("x")
			}
			for i := range 3 {
				time.Sleep(time.Duration(3-i) * time.Second) // the first takes longer
				r.Progress(sdxl.Progress{Step: i + 1, Steps: 3})
			}
			time.Sleep(500 * time.Millisecond)
			return nil
		}
		id(t, b.do("POST", "/generate", plain))
		first := b.postJob(t, plain)
		waits := b.postJob(t, plain)
		synctest.Wait()
		b.expose(t, `# TYPE goxl_jobs gauge
			goxl_jobs{state="interrupted"} 0
			goxl_jobs{state="queued"} 1
			goxl_jobs{state="running"} 1
			# TYPE goxl_queue_length gauge
			goxl_queue_length 1`)
		b.do("DELETE", "/v1/jobs/"+waits.ID, "")
		b.finished(t, first.ID)
		if w := b.do("POST", "/generate", `{"prompt":"fault"}`); w.Code != 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		b.expose(t, `# TYPE goxl_images_total counter
			goxl_images_total{model="fake-base"} 2
			# TYPE goxl_job_duration_seconds histogram
			goxl_job_duration_seconds_sum{state="cancelled"} 0
			goxl_job_duration_seconds_count{state="cancelled"} 1
			goxl_job_duration_seconds_sum{state="done"} 13
			goxl_job_duration_seconds_count{state="done"} 2
			goxl_job_duration_seconds_sum{state="failed"} 0
			goxl_job_duration_seconds_count{state="failed"} 1
			# TYPE goxl_job_stage_seconds histogram
			goxl_job_stage_seconds_sum{stage="decode"} 1
			goxl_job_stage_seconds_count{stage="decode"} 2
			goxl_job_stage_seconds_sum{stage="denoise"} 6
			goxl_job_stage_seconds_count{stage="denoise"} 2
			goxl_job_stage_seconds_sum{stage="encode"} 0
			goxl_job_stage_seconds_count{stage="encode"} 2
			goxl_job_stage_seconds_sum{stage="prepare"} 6
			goxl_job_stage_seconds_count{stage="prepare"} 2
			# TYPE goxl_job_wait_seconds histogram
			goxl_job_wait_seconds_sum 0
			goxl_job_wait_seconds_count 3
			# TYPE goxl_jobs gauge
			goxl_jobs{state="interrupted"} 0
			goxl_jobs{state="queued"} 0
			goxl_jobs{state="running"} 0
			# TYPE goxl_jobs_submitted_total counter
			goxl_jobs_submitted_total{api="/generate",model="fake-base"} 2
			goxl_jobs_submitted_total{api="/v1/jobs",model="fake-base"} 2
			# TYPE goxl_jobs_total counter
			goxl_jobs_total{api="/generate",model="fake-base",state="cancelled"} 0
			goxl_jobs_total{api="/generate",model="fake-base",state="done"} 1
			goxl_jobs_total{api="/generate",model="fake-base",state="failed"} 1
			goxl_jobs_total{api="/v1/jobs",model="fake-base",state="cancelled"} 1
			goxl_jobs_total{api="/v1/jobs",model="fake-base",state="done"} 1
			goxl_jobs_total{api="/v1/jobs",model="fake-base",state="failed"} 0
			# TYPE goxl_queue_length gauge
			goxl_queue_length 0
			# TYPE goxl_step_seconds histogram
			goxl_step_seconds_sum{model="fake-base"} 6
			goxl_step_seconds_count{model="fake-base"} 4`)
		problems, err := testutil.GatherAndLint(b.metrics.registry)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
		if len(b.metrics.known) != 0 {
			t.Errorf("jobs that are remembered: %v", b.metrics.known)
		}
	})
}

// A device that fails is counted, and so is the attempt that it cost; what engines take of their devices is there.
func TestMetricsOfDevices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		b := loadedBench(t, func(c *Config) {
			c.Devices = []string{"cuda:0"}
			load := c.Load
			c.Load = func(i int) (engine.Engine, error) {
				e, err := load(i)
				p := e.(pair)
				p.base, p.refiner = &fakeEngine{t: t, on: "cuda:0"}, &fakeEngine{t: t}
				if loads++; loads == 1 {
					p.base.run = func(context.Context, sdxl.Request) error {
						p.base.lost.Store(&errFault)
						return errFault
					}
				}
				time.Sleep(2 * time.Second)
				return reporting{p, engine.Usage{Memory: kernels.Memory{Limit: 1000, Used: 300, Peak: 400}, Evictions: uint64(loads)}}, err
			}
		})
		id(t, b.do("POST", "/generate", plain))
		b.expose(t, `# TYPE goxl_device_memory_limit_bytes gauge
			goxl_device_memory_limit_bytes{device="cuda:0"} 1000
			# TYPE goxl_device_memory_peak_bytes gauge
			goxl_device_memory_peak_bytes{device="cuda:0"} 400
			# TYPE goxl_device_memory_used_bytes gauge
			goxl_device_memory_used_bytes{device="cuda:0"} 300
			# TYPE goxl_device_up gauge
			goxl_device_up{device="cuda:0"} 1
			# TYPE goxl_engine_failures_total counter
			goxl_engine_failures_total{device="cuda:0"} 1
			# TYPE goxl_engine_load_seconds histogram
			goxl_engine_load_seconds_sum{device="cuda:0"} 4
			goxl_engine_load_seconds_count{device="cuda:0"} 2
			# TYPE goxl_job_retries_total counter
			goxl_job_retries_total{reason="device_failed"} 1
			goxl_job_retries_total{reason="process_died"} 0
			goxl_job_retries_total{reason="too_large"} 0
			# TYPE goxl_job_wait_seconds histogram
			goxl_job_wait_seconds_sum 2
			goxl_job_wait_seconds_count 2
			# TYPE goxl_model_evictions_total counter
			goxl_model_evictions_total{device="cuda:0"} 2`)
	})
}

// Requests are counted by the pattern of their route: a client can't make up series.
func TestMetricsOfRequests(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.Metrics = true })
	b.do("GET", "/healthz", "")
	b.do("HEAD", "/healthz", "")
	b.do("GET", "/download/11111111-1111-4111-8111-111111111111", "")
	b.do("GET", "/download/x", "")
	b.do("PUT", "/download/x", "")
	b.do("BREW", "/coffee", "")
	b.do("GET", "/other", "")
	b.do("GET", "//healthz", "")
	b.do("POST", "/v1/jobs/cancel", `{}`)
	foreign := httptest.NewRequest("GET", "/healthz", nil)
	foreign.Host = "evil.example"
	b.loopback.Store(true)
	b.ServeHTTP(httptest.NewRecorder(), foreign)
	b.loopback.Store(false)
	b.expose(t, `# TYPE goxl_http_requests_in_flight gauge
		goxl_http_requests_in_flight 0
		# TYPE goxl_http_requests_total counter
		goxl_http_requests_total{code="200",method="GET",route="/healthz"} 1
		goxl_http_requests_total{code="200",method="HEAD",route="/healthz"} 1
		goxl_http_requests_total{code="403",method="GET",route="/healthz"} 1
		goxl_http_requests_total{code="404",method="GET",route="/download/{id}"} 2
		goxl_http_requests_total{code="404",method="GET",route="none"} 2
		goxl_http_requests_total{code="404",method="other",route="none"} 1
		goxl_http_requests_total{code="405",method="PUT",route="/download/{id}"} 1
		goxl_http_requests_total{code="422",method="POST",route="/v1/jobs/cancel"} 1`)
	w := b.do("GET", "/metrics", "")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain; version=0.0.4") || !strings.Contains(w.Body.String(), `goxl_build_info{goversion="go`) || !strings.Contains(w.Body.String(), "goxl_http_requests_in_flight 1\n") || !strings.Contains(w.Body.String(), "process_resident_memory_bytes ") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if w := b.do("POST", "/metrics", ""); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	off := loadedBench(t, nil)
	if w := off.do("GET", "/metrics", ""); w.Code != 404 {
		t.Errorf("without Metrics: %d", w.Code)
	}
}

// A listener of its own has the metrics and nothing else, until its context ends.
func TestServeMetrics(t *testing.T) {
	b := loadedBench(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.ServeMetrics(ctx, l) }()
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 404, "/": 404} {
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want || err != nil || want == 200 && !strings.Contains(string(body), "goxl_queue_capacity 64\n") {
			t.Errorf("%s: %d %v %s", path, resp.StatusCode, err, body)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is still open")
	}
	broken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	broken.Close()
	if err := b.ServeMetrics(t.Context(), broken); err == nil {
		t.Error("a closed listener is no error")
	}
}

// What a former process left is not submitted anew, and counts where it ends by the restart.
func TestMetricsAfterRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jobs.db")
	j, err := job.OpenJournal(path, job.JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, left := range []job.Job{
		{ID: "waits", State: job.Queued},
		{ID: "attached", State: job.Queued, Attached: true},
		{ID: "ran", State: job.Running, Attempts: 1},
		{ID: "ran out", State: job.Running, Attempts: 3},
	} {
		state, attempts := left.State, left.Attempts
		left.State, left.Attempts, left.Model, left.API = job.Queued, 0, "m", "/v1/jobs"
		if _, _, err := j.Accept(left); err != nil {
			t.Fatal(i, err)
		}
		if _, err := j.Update(left.ID, func(j *job.Job) error {
			j.State, j.Attempts = state, attempts
			return nil
		}); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, func(c *Config) { c.Journal = path })
	defer b.Close()
	b.expose(t, `# TYPE goxl_job_retries_total counter
		goxl_job_retries_total{reason="device_failed"} 0
		goxl_job_retries_total{reason="process_died"} 1
		goxl_job_retries_total{reason="too_large"} 0
		# TYPE goxl_jobs gauge
		goxl_jobs{state="interrupted"} 1
		goxl_jobs{state="queued"} 1
		goxl_jobs{state="running"} 0
		# TYPE goxl_jobs_total counter
		goxl_jobs_total{api="/v1/jobs",model="m",state="cancelled"} 1
		goxl_jobs_total{api="/v1/jobs",model="m",state="done"} 0
		goxl_jobs_total{api="/v1/jobs",model="m",state="failed"} 1
		# TYPE goxl_queue_length gauge
		goxl_queue_length 2`)
}

// What an event of a step costs its job.
func BenchmarkMetricsOfStep(b *testing.B) {
	m := newMetrics("")
	j := &job.Job{ID: "x", Model: "m", State: job.Running}
	m.observe(j, job.Event{Kind: job.KindState, State: job.Running})
	e := job.Event{Kind: job.KindStep, Time: time.Now()}
	for b.Loop() {
		m.observe(j, e)
	}
}
