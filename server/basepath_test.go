package server

import (
	"encoding/json"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

func TestParseBasePath(t *testing.T) {
	for path, want := range map[string]string{"": "", "/": "", "/x": "/x", "/x/": "/x", "/a/b.c~d_e-1": "/a/b.c~d_e-1"} {
		if got, err := ParseBasePath(path); got != want || err != nil {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	for _, path := range []string{"x", "//x", "/x//", "/x//y", "/x y", "/é", "/x?y", "/../x", "/x/..", "/./x", "/x%20"} {
		if got, err := ParseBasePath(path); err == nil || !strings.Contains(err.Error(), "must be a path") {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
}

// All routes lie below the path, and what they answer leads there.
func TestBasePath(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.BasePath = "/x/y" })
	for path, want := range map[string]int{
		"/x/y/healthz": 200, "/x/y/readyz": 200, "/x/y/v1/jobs": 200, "/x/y/nothing": 404,
		"/healthz": 404, "/x/healthz": 404, "/x/yhealthz": 404, "/x/y//healthz": 404, "/x%2Fy/healthz": 404, "/": 404, "/x": 404,
		"/x/y/x/y/healthz": 404, "/x/y": 308,
	} {
		w := b.ask("GET", path, "")
		if w.Code != want || want == 404 && w.Body.String() != `{"detail":"Not Found"}` {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, want)
		}
	}
	if w := b.ask("GET", "/x/y?a=b", ""); w.Code != 308 || w.Header().Get("Location") != "/x/y/?a=b" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := b.ask("POST", "/x/y", "{}"); w.Code != 404 {
		t.Errorf("POST: %d", w.Code)
	}
	w := b.ask("POST", "/x/y/v1/jobs", `{"prompt":"a"}`)
	v := decodeJob(t, w, 202)
	if w.Header().Get("Location") != "/x/y/v1/jobs/"+v.ID {
		t.Errorf("Location: %s", w.Header().Get("Location"))
	}
	events := b.ask("GET", "/x/y/v1/jobs/"+v.ID+"/events", "")
	if !strings.Contains(events.Body.String(), `"url":"/x/y/download/`) {
		t.Errorf("events: %s", events.Body)
	}
	v = decodeJob(t, b.ask("GET", "/x/y/v1/jobs/"+v.ID, ""), 200)
	if w := b.ask("GET", v.Images[0].URL, ""); w.Code != 200 || w.Header().Get("Content-Type") != "image/png" {
		t.Errorf("%s: %d", v.Images[0].URL, w.Code)
	}
	if j, err := b.journal.Get(v.ID); err != nil || j.API != "/v1/jobs" {
		t.Errorf("%+v, %v", j.API, err)
	}
	id(t, b.ask("POST", "/x/y/generate", `{"prompt":"a"}`))
}

// What is refused has the error shape of the API that its path below the base path is of.
func TestErrorsBelowBasePath(t *testing.T) {
	b := loadedBench(t, func(c *Config) { c.BasePath = "/x" })
	b.loopback.Store(true)
	for path, want := range map[string]string{
		"/x/v1/models": `{"error":{"message":"The Host header`, "/x/v1/images/generations": `{"error":{"message":"The Host header`,
		"/x/sdapi/v1/options": `{"error":"foreign_host","detail":"The Host header`, "/x/v1/jobs": `{"detail":"The Host header`,
		"/x": `{"detail":"The Host header`, "/sdapi/v1/options": `{"error":"foreign_host"`,
	} {
		r := httptest.NewRequest("GET", path, nil)
		r.Host = "evil.example"
		w := httptest.NewRecorder()
		b.ServeHTTP(w, r)
		if w.Code != 403 || !strings.HasPrefix(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want 403 %s", path, w.Code, w.Body, want)
		}
	}
}

// Behind a proxy that cuts a prefix off, what is answered leads through it, and a cookie is for that path, by TLS.
func TestPrefixOfProxy(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	b := loadedBench(t, func(c *Config) {
		c.Tokens, c.BasePath, c.TrustedProxies = m.path, "/x", []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	})
	header := append(m.bearer("anna"), "X-Forwarded-Prefix", "/p", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "images.example")
	w := b.ask("POST", "/x/v1/jobs", `{"prompt":"a"}`, header...)
	if v := decodeJob(t, w, 202); w.Header().Get("Location") != "/p/x/v1/jobs/"+v.ID {
		t.Errorf("Location: %s", w.Header().Get("Location"))
	}
	if cookie, _ := cookieOf(t, b.ask("POST", "/x/v1/session", "", header...).Header()); cookie.Path != "/p/x/" || !cookie.Secure {
		t.Errorf("%+v", cookie)
	}
	w = b.ask("GET", "/x", "", header...)
	if w.Header().Get("Location") != "/p/x/" {
		t.Errorf("Location: %s", w.Header().Get("Location"))
	}
	openAI := b.ask("POST", "/x/v1/images/generations", `{"prompt":"a","response_format":"url"}`, header...)
	if !strings.Contains(openAI.Body.String(), `"url":"https://images.example/p/x/download/`) {
		t.Errorf("%d %s", openAI.Code, openAI.Body)
	}
	// An old browser's request has an Origin and no Sec-Fetch-Site: it is compared with the host that the client asked.
	plain := loadedBench(t, func(c *Config) { c.TrustedProxies = b.config.TrustedProxies })
	for origin, want := range map[string]int{"https://images.example": 202, "https://other.example": 403} {
		if w := plain.ask("POST", "/v1/jobs", `{"prompt":"a"}`, "Origin", origin, "X-Forwarded-Host", "images.example"); w.Code != want {
			t.Errorf("%s: %d %s", origin, w.Code, w.Body)
		}
	}
	var v imageView
	image := b.ask("POST", "/x/v1/images", string(pngOf(t, 64, 64)), append(header, "Content-Type", "image/png")...)
	if err := json.Unmarshal(image.Body.Bytes(), &v); err != nil || v.URL != "/p/x/download/"+v.ID {
		t.Errorf("%s, %v", image.Body, err)
	}
	w = b.ask("POST", "/x/v1/jobs", `{"prompt":"a","image":"`+v.ID+`"}`, header...)
	if !strings.Contains(w.Body.String(), `"url":"/p/x/download/`+v.ID) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
