package server

import (
	"net/http/httptest"
	"testing"

	"github.com/goxl/goxl/server/auth"
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
