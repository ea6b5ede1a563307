package server

import (
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/auth"
	"github.com/goxl/goxl/worker"
)

// A request that is refused before its route's handler counts for that route: who may not, who comes too often, a
// foreign host and a foreign page.
func TestMetricsOfRefusedRequests(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	b := loadedBench(t, func(c *Config) { c.Tokens, c.Metrics, c.BasePath = m.path, true, "/x" })
	wrong := []string{"Authorization", "Bearer " + auth.NewToken()}
	b.ask("GET", "/x/v1/jobs", "")
	b.ask("GET", "/x/metrics", "", m.bearer("anna")...)
	for range 11 {
		b.ask("GET", "/x/v1/jobs/11111111-1111-4111-8111-111111111111", "", wrong...)
	}
	b.ask("POST", "/x/generate", plain, "Sec-Fetch-Site", "cross-site")
	b.ask("GET", "/x/other", "", wrong...)
	b.ask("GET", "/healthz", "")
	foreign := httptest.NewRequest("GET", "/x/v1/models/a/b", nil)
	foreign.Host = "evil.example"
	b.loopback.Store(true)
	b.ServeHTTP(httptest.NewRecorder(), foreign)
	b.expose(t, `# TYPE goxl_http_requests_total counter
		goxl_http_requests_total{code="401",method="GET",route="/v1/jobs"} 1
		goxl_http_requests_total{code="401",method="GET",route="/v1/jobs/{id}"} 10
		goxl_http_requests_total{code="403",method="GET",route="/metrics"} 1
		goxl_http_requests_total{code="403",method="GET",route="/v1/models/{id...}"} 1
		goxl_http_requests_total{code="403",method="POST",route="/generate"} 1
		goxl_http_requests_total{code="404",method="GET",route="none"} 1
		goxl_http_requests_total{code="429",method="GET",route="/v1/jobs/{id}"} 1
		goxl_http_requests_total{code="429",method="GET",route="none"} 1`)
}

// crowdedScrape is a collector that waits until a number of scrapes are in it.
type crowdedScrape struct{ all *sync.WaitGroup }

func (crowdedScrape) Describe(to chan<- *prometheus.Desc) {
	to <- prometheus.NewDesc("test_crowd", "A crowd.", nil, nil)
}

func (c crowdedScrape) Collect(chan<- prometheus.Metric) {
	c.all.Done()
	c.all.Wait()
}

// However many scrape at once, each is answered.
func TestScrapesAtOnce(t *testing.T) {
	m := newMetrics("v")
	h := m.handler()
	const scrapes = 20
	var all sync.WaitGroup
	all.Add(scrapes)
	add(m, crowdedScrape{&all})
	codes := make(chan int, scrapes)
	for range scrapes {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			code := w.Code
			if codes <- code; code != 200 {
				all.Done()
			}
		}()
	}
	for range scrapes {
		if code := <-codes; code != 200 {
			t.Errorf("a scrape is answered %d", code)
		}
	}
}

// An attempt that ends without a result is counted as followed by another; that a taker gives a job back, which it can't
// compute, is none, and neither is what the end of the server cuts off.
func TestMetricsOfRetries(t *testing.T) {
	m := newMetrics("v")
	journal, err := job.OpenJournal(filepath.Join(t.TempDir(), "jobs.db"), job.JournalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer journal.Close()
	retries := func() (device, stopping float64) {
		return testutil.ToFloat64(m.retries.WithLabelValues(worker.KindDeviceFailed)), testutil.ToFloat64(m.retries.WithLabelValues(worker.KindStopping))
	}
	open := func() *job.Queue {
		t.Helper()
		q, err := job.NewQueue(journal, job.QueueOptions{Capacity: 1, Observe: m.observe})
		if err != nil {
			t.Fatal(err)
		}
		return q
	}
	take := func(q *job.Queue) *job.Lease {
		t.Helper()
		l, err := q.Take(t.Context(), job.Taker{})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	failed := &job.Error{Kind: worker.KindDeviceFailed, Message: "x"}
	q := open()
	if _, _, err := q.Submit(job.Job{ID: "a", Model: "m"}); err != nil {
		t.Fatal(err)
	}
	take(q).Return(failed)
	if n, _ := retries(); n != 0 {
		t.Errorf("%v retries after a return, want 0", n)
	}
	take(q).Retry(failed)
	take(q).Return(failed)
	if n, _ := retries(); n != 1 {
		t.Errorf("%v retries after an attempt and two returns, want 1", n)
	}
	l := take(q)
	q.Close()
	l.Retry(&job.Error{Kind: worker.KindStopping, Message: "x"})
	if _, n := retries(); n != 0 {
		t.Errorf("%v retries of a server that ends, want 0", n)
	}
	m.known = map[string]*progress{} // another process
	q = open()
	defer q.Close()
	if n, stopping := retries(); n != 1 || stopping != 0 {
		t.Errorf("%v and %v retries after a restart, want 1 and 0", n, stopping)
	}
	take(q).Retry(failed)
	if n, _ := retries(); n != 2 {
		t.Errorf("%v retries after another attempt, want 2", n)
	}
}
