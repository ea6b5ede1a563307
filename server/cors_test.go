package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

// access headers of an answer, each once.
func accessHeaders(h http.Header) map[string]string {
	got := map[string]string{}
	for name, values := range h {
		if strings.HasPrefix(name, "Access-Control-") {
			got[strings.TrimPrefix(name, "Access-Control-")] = strings.Join(values, "; ")
		}
	}
	return got
}

// Pages of the origins that are listed may read the answers, and no others; without a list nobody is.
func TestCORS(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	off := loadedBench(t, nil)
	listed := loadedBench(t, func(c *Config) {
		c.Tokens, c.CORS = m.path, []string{"https://friend.example", "http://localhost:3000"}
	})
	anyone := loadedBench(t, func(c *Config) { c.Tokens, c.CORS = m.path, []string{"*"} })
	preflight := []string{"Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization,x-stainless-os"}
	for _, c := range []struct {
		name        string
		b           *bench
		method      string
		origin      string
		header      []string
		status      int
		allow       string // Access-Control-Allow-Origin
		credentials bool
		vary        bool
	}{
		{"off", off, "GET", "https://friend.example", nil, 200, "", false, false},
		{"off", off, "OPTIONS", "https://friend.example", preflight, 405, "", false, false},
		{"listed", listed, "GET", "https://friend.example", m.bearer("anna"), 200, "https://friend.example", true, true},
		{"listed", listed, "GET", "http://localhost:3000", m.bearer("anna"), 200, "http://localhost:3000", true, true},
		{"listed", listed, "GET", "http://localhost:3001", m.bearer("anna"), 200, "", false, true},
		{"listed", listed, "GET", "https://friend.example.evil", m.bearer("anna"), 200, "", false, true},
		{"listed", listed, "GET", "https://sub.friend.example", m.bearer("anna"), 200, "", false, true},
		{"listed", listed, "GET", "null", m.bearer("anna"), 200, "", false, true},
		{"listed", listed, "GET", "", m.bearer("anna"), 200, "", false, true},
		{"listed", listed, "GET", "https://friend.example", nil, 401, "https://friend.example", true, true}, // an error is read too
		{"listed", listed, "OPTIONS", "https://friend.example", preflight, 204, "https://friend.example", true, true},
		{"listed", listed, "OPTIONS", "https://evil.example", preflight, 401, "", false, true},
		{"listed", listed, "OPTIONS", "https://friend.example", nil, 401, "https://friend.example", true, true}, // no preflight
		{"any", anyone, "GET", "https://evil.example", m.bearer("anna"), 200, "*", false, false},
		{"any", anyone, "OPTIONS", "https://evil.example", preflight, 204, "*", false, false},
		{"any", anyone, "GET", "", m.bearer("anna"), 200, "", false, false},
	} {
		header := c.header
		if c.origin != "" {
			header = append(slices.Clone(header), "Origin", c.origin)
		}
		w := c.b.ask(c.method, "/v1/jobs", "", header...)
		got := accessHeaders(w.Header())
		vary := strings.Contains(strings.Join(w.Header().Values("Vary"), ","), "Origin")
		if w.Code != c.status || got["Allow-Origin"] != c.allow || (got["Allow-Credentials"] == "true") != c.credentials || vary != c.vary {
			t.Errorf("%s %s of %q %q: %d %v, Vary %q", c.name, c.method, c.origin, c.header, w.Code, got, w.Header().Values("Vary"))
		}
		if c.allow == "" && len(got) > 0 {
			t.Errorf("%s %s of %q: %v", c.name, c.method, c.origin, got)
		}
		if w.Code == 204 && (got["Allow-Methods"] != "GET, HEAD, POST, DELETE" || got["Allow-Headers"] != "authorization,x-stainless-os" || got["Max-Age"] != "600" || w.Body.Len() > 0) {
			t.Errorf("preflight: %v %s", got, w.Body)
		}
		if w.Code == 200 && c.allow != "" && !strings.Contains(got["Expose-Headers"], "Retry-After") {
			t.Errorf("%s: %v", c.origin, got)
		}
	}
}

func TestParseOrigins(t *testing.T) {
	for list, want := range map[string]int{"": 0, "*": 1, "https://a.example": 1, "http://localhost:3000,https://a.example:8443": 2, "http://[::1]:80": 1} {
		if got, err := ParseOrigins(list); err != nil || len(got) != want {
			t.Errorf("%q: %q, %v", list, got, err)
		}
	}
	for _, list := range []string{"a", "a.example", "https://a/", "https://a.example/x", "https://a,", "https://A.example", "null", "https://*.a", "*,https://a.example", "https://a?x", "https://u@a"} {
		if got, err := ParseOrigins(list); err == nil || !strings.Contains(err.Error(), "must be") {
			t.Errorf("%q: %q, %v", list, got, err)
		}
	}
}
