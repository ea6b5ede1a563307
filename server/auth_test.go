package server

import (
	"encoding/base64"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/goxl/goxl/server/auth"
)

// members are the tokens of some users by their names, and the file of them.
type members struct {
	path   string
	tokens map[string]string
}

// newMembers writes a file of users, each with a token of its own.
func newMembers(t *testing.T, users ...auth.User) members {
	t.Helper()
	m := members{path: filepath.Join(t.TempDir(), "tokens"), tokens: map[string]string{}}
	m.write(t, users...)
	return m
}

// write writes the file anew. Users that had a token keep it.
func (m members) write(t *testing.T, users ...auth.User) {
	t.Helper()
	var lines strings.Builder
	for _, u := range users {
		if m.tokens[u.Name] == "" {
			m.tokens[u.Name] = auth.NewToken()
		}
		lines.WriteString(u.Line(m.tokens[u.Name]) + "\n")
	}
	if err := os.WriteFile(m.path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

// bearer is the header of a user's token.
func (m members) bearer(name string) []string {
	return []string{"Authorization", "Bearer " + m.tokens[name]}
}

// ask sends a request with headers, a name and a value each, straight to the handler.
func (b *bench) ask(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	if body != "" && r.Header.Get("Content-Type") == "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func basic(name, token string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+token))}
}

// Who comes with a token is let in, and nobody else, but to what says that the server lives.
func TestTokens(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "ops", Role: auth.Admin, Priority: 100})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	anna := m.tokens["anna"]
	const none, wrong = `{"detail":"Not authenticated"}`, `{"detail":"Invalid token"}`
	const bearer, invalid = `Bearer realm="goxl"`, `Bearer realm="goxl", error="invalid_token"`
	for _, c := range []struct {
		method, path string
		header       []string
		status       int
		body         string // "" is any
		challenge    string
	}{
		{"GET", "/v1/jobs", nil, 401, none, bearer},
		{"POST", "/generate", nil, 401, none, bearer},
		{"GET", "/download/x", nil, 401, none, bearer},
		{"GET", "/nothing", nil, 401, none, bearer},
		{"DELETE", "/v1/jobs", nil, 401, none, bearer},
		{"GET", "/v1/queue?token=" + anna, nil, 401, none, bearer},
		{"GET", "/healthz", nil, 200, "", ""},
		{"GET", "/readyz", nil, 200, "", ""},
		{"HEAD", "/healthz", nil, 200, "", ""},
		{"GET", "/healthz", []string{"Authorization", "Bearer wrong"}, 200, "", ""},
		{"GET", "/v1/jobs", m.bearer("anna"), 200, "", ""},
		{"GET", "/v1/jobs", []string{"Authorization", "bEaReR   " + anna}, 200, "", ""},
		{"GET", "/v1/jobs", basic("anna", anna), 200, "", ""},
		{"GET", "/nothing", m.bearer("anna"), 404, "", ""},
		{"GET", "/v1/jobs", basic("ops", anna), 401, wrong, invalid},
		{"GET", "/v1/jobs", basic("", anna), 401, wrong, invalid},
		{"GET", "/v1/jobs", []string{"Authorization", "Bearer " + anna + "x"}, 401, wrong, invalid},
		{"GET", "/v1/jobs", []string{"Authorization", "Bearer"}, 401, wrong, invalid},
		{"GET", "/v1/jobs", []string{"Authorization", "Basic !"}, 401, wrong, invalid},
		{"GET", "/v1/jobs", []string{"Authorization", anna}, 401, wrong, invalid},
		{"GET", "/v1/jobs", append(m.bearer("anna"), "Authorization", "Bearer x"), 401, wrong, invalid},
		{"GET", "/v1/jobs", []string{"Cookie", "goxl_session=" + anna}, 401, none, bearer},
	} {
		w := b.ask(c.method, c.path, "", c.header...)
		if w.Code != c.status || c.body != "" && w.Body.String() != c.body || w.Header().Get("WWW-Authenticate") != c.challenge {
			t.Errorf("%s %s %q: %d %s %q, want %d %s %q", c.method, c.path, c.header, w.Code, w.Body, w.Header().Values("WWW-Authenticate"), c.status, c.body, c.challenge)
		}
	}
	w := b.ask("GET", "/sdapi/v1/samplers", "")
	if got := w.Header().Values("WWW-Authenticate"); w.Code != 401 || len(got) != 2 || !strings.HasPrefix(got[1], "Basic ") {
		t.Errorf("A1111's clients: %d %q", w.Code, got)
	}
	w = b.ask("POST", "/v1/images/generations", `{"prompt":"a"}`)
	if w.Code != 401 || !strings.HasPrefix(w.Body.String(), `{"error":{"message":"Not authenticated","type":"invalid_request_error"`) || w.Header().Get("WWW-Authenticate") != bearer {
		t.Errorf("OpenAI's clients: %d %s", w.Code, w.Body)
	}
	if strings.Contains(b.log.String(), anna) || strings.Contains(b.log.String(), anna[5:]) {
		t.Error("the log has a token")
	}
	if b.ask("GET", "/v1/session", "", m.bearer("anna")...); !strings.Contains(b.last(), " user=anna") {
		t.Errorf("the log does not name the user: %s", b.last())
	}
}

// What only admins may is refused to others.
func TestAdminRoutes(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use}, auth.User{Name: "ops", Role: auth.Admin})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	accesses["GET /v1/queue"] = byAdmin
	defer delete(accesses, "GET /v1/queue")
	for name, want := range map[string]int{"anna": 403, "ops": 200} {
		if w := b.ask("GET", "/v1/queue", "", m.bearer(name)...); w.Code != want {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	if w := b.ask("GET", "/v1/queue", ""); w.Code != 401 {
		t.Errorf("nobody: %d", w.Code)
	}
}

// An address that is wrong too often has to wait; right tokens are not held up, and others' addresses are not.
func TestWrongTokens(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
	refused := 0
	for range 30 {
		w := b.ask("GET", "/v1/jobs", "", "Authorization", "Bearer wrong")
		switch {
		case w.Code == 429 && w.Header().Get("Retry-After") != "" && w.Body.String() == `{"detail":"Too many requests with a wrong token"}`:
			refused++
		case w.Code != 401 || refused > 0 && w.Header().Get("Retry-After") != "":
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if refused < 10 {
		t.Errorf("%d of 30 were refused", refused)
	}
	if w := b.ask("GET", "/v1/jobs", "", m.bearer("anna")...); w.Code != 200 {
		t.Errorf("a right token: %d", w.Code)
	}
	if w := b.ask("GET", "/v1/jobs", ""); w.Code != 401 {
		t.Errorf("none: %d", w.Code)
	}
	r := httptest.NewRequest("GET", "/v1/jobs", nil)
	r.RemoteAddr = "192.0.2.200:1"
	r.Header.Set("Authorization", "Bearer wrong")
	w := httptest.NewRecorder()
	if b.ServeHTTP(w, r); w.Code != 401 {
		t.Errorf("another address: %d", w.Code)
	}
}

// A file that changes counts a second later, and one that is wrong leaves the users as they were.
func TestTokensAreReadAgain(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	synctest.Test(t, func(t *testing.T) {
		b := loadedBench(t, func(c *Config) { c.Tokens = m.path })
		expect := func(name string, status int) {
			t.Helper()
			if w := b.ask("GET", "/v1/jobs", "", m.bearer(name)...); w.Code != status {
				t.Errorf("%s: %d, want %d", name, w.Code, status)
			}
		}
		expect("anna", 200)
		m.write(t, auth.User{Name: "bertram", Role: auth.Use})
		time.Sleep(time.Second)
		expect("anna", 401)
		expect("bertram", 200)
		if err := os.WriteFile(m.path, []byte("bertram use nothing"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		expect("bertram", 200)
		if !strings.Contains(b.log.String(), "line 1: the hash is") {
			t.Errorf("the log does not say what is wrong:\n%s", b.log)
		}
		m.write(t, auth.User{Name: "anna", Role: auth.Use})
		time.Sleep(time.Second)
		expect("anna", 200)
		expect("bertram", 401)
	})
}

// Without tokens in a file, the server does not start, and says what is wrong with it.
func TestBadTokens(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "tokens")
	if err := os.WriteFile(path, []byte("# nobody\nanna use x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Config){
		path + ": line 2: the hash is":     func(c *Config) { c.Tokens = path },
		"none: no such file":               func(c *Config) { c.Tokens = filepath.Join(folder, "none") },
		`CORS is "*": must name origins`:   func(c *Config) { c.CORS = []string{"*"} },
		`CORS has "a": must be an origin`:  func(c *Config) { c.CORS = []string{"a"} },
		`BasePath is "x": must be empty`:   func(c *Config) { c.BasePath = "x" },
		`BasePath is "/x/": must be empty`: func(c *Config) { c.BasePath = "/x/" },
		`TLSCert is "" and TLSKey "k"`:     func(c *Config) { c.TLSKey = "k" },
		"TLSCert none and TLSKey none":     func(c *Config) { c.TLSCert, c.TLSKey = "none", "none" },
	} {
		b := newBench(t, nil)
		c := b.config
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// A request of a web page of another origin changes nothing where no header of its own says who sends it.
func TestOtherOrigins(t *testing.T) {
	m := newMembers(t, auth.User{Name: "anna", Role: auth.Use})
	open := loadedBench(t, func(c *Config) { c.CORS = []string{"https://friend.example"} })
	closed := loadedBench(t, func(c *Config) { c.Tokens = m.path; c.CORS = []string{"https://friend.example"} })
	cross := []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}
	for _, c := range []struct {
		b      *bench
		method string
		path   string
		header []string
		status int
	}{
		{open, "POST", "/v1/jobs", cross, 403},
		{open, "POST", "/generate", []string{"Origin", "http://evil.example"}, 403},
		{open, "POST", "/v1/jobs/cancel", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{open, "POST", "/v1/jobs", []string{"Origin", "null"}, 403},
		{open, "POST", "/v1/jobs", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://example.com"}, 202},
		{open, "POST", "/v1/jobs", []string{"Origin", "http://example.com"}, 202},
		{open, "POST", "/v1/jobs", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://friend.example"}, 202},
		{open, "POST", "/v1/jobs", nil, 202},
		{open, "GET", "/v1/jobs", cross, 200},
		{closed, "POST", "/v1/jobs", append(m.bearer("anna"), cross...), 202},
		{closed, "POST", "/v1/jobs", append(basic("anna", m.tokens["anna"]), cross...), 403},
		{closed, "POST", "/v1/jobs", basic("anna", m.tokens["anna"]), 202},
		{closed, "DELETE", "/v1/session", cross, 403},
	} {
		if w := c.b.ask(c.method, c.path, `{"prompt":"a"}`, c.header...); w.Code != c.status {
			t.Errorf("%s %s %q: %d %s, want %d", c.method, c.path, c.header, w.Code, w.Body, c.status)
		}
	}
}
