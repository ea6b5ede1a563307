package server

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/server/auth"
)

// Where tokens are needed, the document says so, and can be read without one.
func TestDocumentSecurity(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Tokens = newMembers(t, auth.User{Name: "anna", Role: auth.Use}).path })
	d, _ := described(t, b)
	if len(d.Security) != 3 {
		t.Errorf("%v", d.Security)
	}
	c := newChecker(t, d)
	for path, methods := range d.Paths {
		for method, op := range methods {
			if op.Body != nil || method == "delete" {
				continue
			}
			w := b.do(strings.ToUpper(method), strings.NewReplacer("{id}", "x", "{file}", "docs.css").Replace(path), "")
			if open := op.Security != nil; open == (w.Code == http.StatusUnauthorized) {
				t.Errorf("%s %s without a token: %d, and needs none: %v", method, path, w.Code, open)
			}
			if w.Code == http.StatusUnauthorized {
				if err := c.answer(op, w); err != nil {
					t.Errorf("%s %s: %v", method, path, err)
				}
			}
		}
	}
	if page := b.do("GET", "/docs", "").Body.String(); !strings.Contains(page, "Bearer $TOKEN") {
		t.Error("the page's examples have no token")
	}
}

// The page shows every operation, and its links lead somewhere, below a base path too.
func TestDocsPage(t *testing.T) {
	b := newBench(t, func(c *Config) { c.BasePath = "/x" })
	for _, path := range []string{"/x/docs", "/x/docs/docs.css"} {
		w := b.do("GET", path, "")
		if w.Code != 200 || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") || w.Header().Get("Etag") == "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := b.do("GET", "/x/docs/page.html", ""); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
	page := b.do("GET", "/x/docs", "").Body.String()
	ids := []string{}
	for _, o := range operations() {
		if !strings.Contains(page, `id="op-`+o.id+`"`) {
			t.Errorf("the page has no %s", o.id)
		}
	}
	for part := range strings.SplitSeq(page, ` id="`) {
		name, _, _ := strings.Cut(part, `"`)
		if slices.Contains(ids, name) {
			t.Errorf("two elements have the id %s", name)
		}
		ids = append(ids, name)
	}
	links := strings.Split(page, `href="`)[1:]
	for _, rest := range links {
		link, _, _ := strings.Cut(rest, `"`)
		if name, inside := strings.CutPrefix(link, "#"); inside && !slices.Contains(ids, name) {
			t.Errorf("nothing has the id %s", name)
		} else if !inside && b.do("GET", "/x/"+strings.TrimPrefix(link, "./"), "").Code != 200 {
			t.Errorf("%s leads nowhere", link)
		}
	}
	if len(links) < 50 || !strings.Contains(page, "curl http://example.com/x/generate") {
		t.Errorf("%d links", len(links))
	}
	if w := b.do("GET", "/x/openapi.json", ""); !strings.Contains(w.Body.String(), `"servers":[{"url":"/x"}]`) {
		t.Errorf("%.500s", w.Body)
	}
	r := httptest.NewRequest("GET", "/x/docs", nil)
	r.Host = "example.com:80';reboot;'"
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	if strings.Contains(w.Body.String(), "reboot") {
		t.Error("a host that is none stands in a command line")
	}
}

// The document follows the limits, and is made anew only then.
func TestDocumentLimits(t *testing.T) {
	b := newBench(t, nil)
	ask := func() *httptest.ResponseRecorder { return b.do("GET", "/openapi.json", "") }
	first, again := ask(), ask()
	if first.Header().Get("Etag") == "" || first.Header().Get("Etag") != again.Header().Get("Etag") || !bytes.Equal(first.Body.Bytes(), again.Body.Bytes()) {
		t.Error("two documents of one server differ")
	}
	b.config.MaxSteps = 7
	if w := ask(); !strings.Contains(w.Body.String(), `"minimum":1,"maximum":7`) || w.Header().Get("Etag") == first.Header().Get("Etag") {
		t.Error("the document has the limits of before")
	}
}

// BenchmarkDocument times the document, which is made once.
func BenchmarkDocument(b *testing.B) {
	s := newBench(b, nil)
	for b.Loop() {
		if w := s.do("GET", "/openapi.json", ""); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
