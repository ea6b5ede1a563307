package server

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/server/auth"
)

// cookieOf is the header with which a browser sends back the one cookie of an answer.
func cookieOf(t *testing.T, h http.Header) (cookie *http.Cookie, header []string) {
	t.Helper()
	cookies := (&http.Response{Header: h}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("cookies: %q", h.Values("Set-Cookie"))
	}
	return cookies[0], []string{"Cookie", cookies[0].Name + "=" + cookies[0].Value}
}

// A session lets a browser in by a cookie that no script reads and no other site sends, for a week at most.
func TestSession(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use, Priority: 3})
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
		w := b.ask("POST", "/v1/session", "", m.bearer("anna")...)
		cookie, header := cookieOf(t, w.Header())
		if w.Code != 200 || !cookie.HttpOnly || cookie.Secure || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.MaxAge != 7*24*3600 {
			t.Errorf("%d %s %+v", w.Code, w.Body, cookie)
		}
		if strings.Contains(cookie.Value, m.tokens["anna"]) || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%+v", w.Header())
		}
		var v sessionView
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || v.Name != "anna" || v.Role != auth.Use || v.Priority != 3 || time.Until(v.Until) < sessionTime-time.Second {
			t.Errorf("%s, %v", w.Body, err)
		}
		expect := func(want int, method, path string, header ...string) {
			t.Helper()
			if w := b.ask(method, path, "", header...); w.Code != want {
				t.Errorf("%s %s %q: %d %s, want %d", method, path, header, w.Code, w.Body, want)
			}
		}
		expect(200, "GET", "/v1/session", header...)
		expect(200, "GET", "/v1/jobs", header...)
		expect(404, "DELETE", "/v1/jobs/x", header...)
		expect(403, "DELETE", "/v1/jobs/x", append(header, "Sec-Fetch-Site", "same-site")...)
		expect(404, "DELETE", "/v1/jobs/x", append(header, "Sec-Fetch-Site", "same-origin")...)
		expect(401, "GET", "/v1/jobs", append(header, "Authorization", "Bearer wrong")...) // a token counts before a cookie
		expect(401, "GET", "/v1/session")
		expect(401, "POST", "/v1/session")
		expect(401, "POST", "/v1/session", header...) // or it would last for ever
		expect(401, "GET", "/v1/jobs", "Cookie", header[1]+"x")
		end := b.ask("DELETE", "/v1/session", "")
		if gone, _ := cookieOf(t, end.Header()); end.Code != 204 || gone.MaxAge >= 0 || gone.Value != "" || gone.Path != "/" {
			t.Errorf("the end: %d %+v", end.Code, gone)
		}
		if info, err := os.Stat(filepath.Join(filepath.Dir(b.config.Journal), "session.key")); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the key: %v, %v", info, err)
		}
		time.Sleep(sessionTime - time.Second)
		expect(200, "GET", "/v1/jobs", header...)
		time.Sleep(time.Second)
		expect(401, "GET", "/v1/jobs", header...)
	})
}

// Where no tokens are needed, everybody has what an admin has, and no cookie.
func TestSessionWithoutTokens(t *testing.T) {
	b := loadedBench(t, nil)
	for _, method := range []string{"GET", "POST"} {
		w := b.ask(method, "/v1/session", "")
		if w.Code != 200 || w.Body.String() != `{"role":"admin","max_priority":100}` || w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: %d %s %v", method, w.Code, w.Body, w.Header())
		}
	}
}
