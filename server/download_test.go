package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

// fetch asks for an image with headers "Name: value".
func (b *bench) fetch(method, id string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/download/"+id, nil)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// Conditions and ranges are met as RFC 9110 says; those that can't be are answered in JSON.
func TestDownloadConditions(t *testing.T) {
	b := loadedBench(t, nil)
	made := b.big(t, 1000)
	tag := b.fetch("GET", made).Header().Get("Etag")
	if len(tag) < 4 || !strings.HasPrefix(tag, `"`) || !strings.HasSuffix(tag, `"`) {
		t.Fatalf("ETag %s is not a strong one", tag)
	}
	const (
		noRange = `{"detail":"Range Not Satisfiable"}`
		failed  = `{"detail":"Precondition Failed"}`
		early   = "Sat, 01 Jan 2000 00:00:00 GMT"
		late    = "Fri, 01 Jan 2100 00:00:00 GMT"
	)
	for _, c := range []struct {
		headers []string
		status  int
		body    string // of errors
		size    int    // else
	}{
		{nil, 200, "", 1000},
		{[]string{"Range: bytes=0-9"}, 206, "", 10},
		{[]string{"Range: bytes=-10"}, 206, "", 10},
		{[]string{"Range: bytes=990-5000"}, 206, "", 10},
		{[]string{"Range: items=0-9"}, 200, "", 1000}, // a unit that nobody knows is none
		{[]string{"Range: Bytes=0-9"}, 206, "", 10},
		{[]string{"Range: bytes=1000-"}, 416, noRange, 0},
		{[]string{"Range: bytes=5000-6000"}, 416, noRange, 0},
		{[]string{"Range: bytes=x"}, 416, noRange, 0},
		{[]string{"If-None-Match: " + tag}, 304, "", 0},
		{[]string{"If-None-Match: W/" + tag}, 304, "", 0},
		{[]string{"If-None-Match: \"x\", " + tag}, 304, "", 0},
		{[]string{"If-None-Match: *"}, 304, "", 0},
		{[]string{`If-None-Match: "x"`}, 200, "", 1000},
		{[]string{"If-Match: " + tag}, 200, "", 1000},
		{[]string{"If-Match: *"}, 200, "", 1000},
		{[]string{"If-Match: W/" + tag}, 412, failed, 0},
		{[]string{`If-Match: "x"`}, 412, failed, 0},
		{[]string{`If-Match: "x"`, "Range: bytes=0-9"}, 412, failed, 0},
		{[]string{"If-Unmodified-Since: " + early}, 412, failed, 0},
		{[]string{"If-Unmodified-Since: " + late}, 200, "", 1000},
		{[]string{"If-Modified-Since: " + late}, 304, "", 0},
		{[]string{"If-Range: " + tag, "Range: bytes=0-9"}, 206, "", 10},
		{[]string{"If-Range: W/" + tag, "Range: bytes=0-9"}, 200, "", 1000},
		{[]string{`If-Range: "x"`, "Range: bytes=0-9"}, 200, "", 1000},
		{[]string{`If-Range: "x"`, "Range: bytes=5000-6000"}, 200, "", 1000},
		{[]string{"If-Range: " + tag, "Range: bytes=5000-6000"}, 416, noRange, 0},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			w := b.fetch(method, made, c.headers...)
			h := w.Header()
			if w.Code != c.status {
				t.Errorf("%s %v: %d %v, want %d", method, c.headers, w.Code, h, c.status)
				continue
			}
			if c.body != "" { // a recorder keeps what net/http does not send for HEAD
				if w.Body.String() != c.body || h.Get("Content-Type") != "application/json" || h.Get("Content-Disposition") != "" || h.Get("Content-Length") != fmt.Sprint(len(c.body)) {
					t.Errorf("%s %v: %q %v", method, c.headers, w.Body, h)
				}
				if c.status == 416 && strings.Contains(c.headers[len(c.headers)-1], "000") && h.Get("Content-Range") != "bytes */1000" {
					t.Errorf("%s %v: Content-Range %q", method, c.headers, h.Get("Content-Range"))
				}
				continue
			}
			if h.Get("Etag") != tag || h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %v: %v", method, c.headers, h)
			}
			if c.status == 304 {
				if w.Body.Len() > 0 {
					t.Errorf("%s %v: %q", method, c.headers, w.Body)
				}
				continue
			}
			if h.Get("Content-Type") != "image/png" || h.Get("Content-Length") != fmt.Sprint(c.size) || method == "GET" && w.Body.Len() != c.size {
				t.Errorf("%s %v: %v, %d bytes", method, c.headers, h, w.Body.Len())
			}
		}
	}
	for _, status := range []string{"status=416", "status=412"} {
		if !strings.Contains(b.log.String(), status) {
			t.Errorf("the log has no %s:\n%s", status, b.log)
		}
	}
}

// An ETag is the same in another process, and another when the file was written again.
func TestETag(t *testing.T) {
	b := loadedBench(t, nil)
	made := id(t, b.do("POST", "/generate", `{"prompt":"a"}`))
	tag := b.fetch("GET", made).Header().Get("Etag")
	later := loadedBench(t, func(c *Config) { c.Images = b.images })
	if got := later.fetch("HEAD", made).Header().Get("Etag"); got != tag {
		t.Errorf("%s in another process, not %s", got, tag)
	}
	if other := id(t, b.do("POST", "/generate", `{"prompt":"ab"}`)); b.fetch("GET", other).Header().Get("Etag") == tag {
		t.Errorf("two images have the ETag %s", tag)
	}
	path := b.images + "/" + made + ".png"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func() error{
		"longer": func() error {
			if err := os.WriteFile(path, append(data, 0), 0o600); err != nil {
				return err
			}
			return os.Chtimes(path, info.ModTime(), info.ModTime())
		},
		"written again": func() error {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				return err
			}
			later := info.ModTime().Add(time.Microsecond) // the system's clock for files may stand still as long as this test takes
			return os.Chtimes(path, later, later)
		},
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if w := b.fetch("GET", made, "If-None-Match: "+tag); w.Code != http.StatusOK || w.Header().Get("Etag") == tag {
			t.Errorf("%s: %d with %s", name, w.Code, w.Header().Get("Etag"))
		}
	}
}
