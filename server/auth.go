package server

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/goxl/goxl/internal/reload"
	"github.com/goxl/goxl/server/auth"
)

// access is who may use a route, where there are tokens.
type access int

const (
	byToken access = iota
	byAnyone
	byAdmin
)

// accesses are those of routes, by their patterns, that have another one than byToken.
var accesses = map[string]access{
	"GET /healthz":       byAnyone,
	"GET /readyz":        byAnyone,
	"GET /internal/ping": byAnyone,
	"GET /{$}":           byAnyone, // the page asks for a token
	"GET /page/{file}":   byAnyone,
	"GET /openapi.json":  byAnyone, // it names no model, adapter or user
	"GET /docs":          byAnyone,
	"GET /docs/{file}":   byAnyone,
	"DELETE /v1/session": byAnyone, // of which the token may be gone
	"GET /metrics":       byAdmin,
}

// guard is what the server knows of who may use it.
type guard struct {
	tokens   *reload.Files[*auth.Tokens] // nil lets everyone in
	sessions *auth.Sessions              // nil without tokens
	failures *auth.Failures
	sameSite *http.CrossOriginProtection
	cors     cors
	quotas   quotas
}

// openGuard reads the tokens, and the key of sessions.
func (s *Server) openGuard() (err error) {
	c := &s.config
	s.failures = auth.NewFailures()
	s.sameSite = http.NewCrossOriginProtection()
	if s.cors, err = newCORS(c.CORS, s.sameSite); err != nil {
		return fmt.Errorf("server: CORS has %w", err)
	}
	if c.Tokens == "" {
		if s.cors.any {
			return errors.New(`server: CORS is "*": must name origins while Tokens is empty, or every web page could use the server`)
		}
		return nil
	}
	s.tokens, err = reload.New(func() (*auth.Tokens, error) { return auth.ReadFile(c.Tokens) }, func(err error) {
		if err != nil {
			c.Log.Error("the file of tokens can't be read again: those of before stay", slog.String("error", err.Error()))
			return
		}
		c.Log.Info("the file of tokens was read again")
	}, c.Tokens)
	if err != nil {
		return fmt.Errorf("server: Tokens: %w", err)
	}
	s.sessions, err = auth.OpenSessions(filepath.Join(filepath.Dir(c.Journal), "session.key"))
	if err != nil {
		return fmt.Errorf("server: the key of sessions: %w", err)
	}
	return nil
}

// visitor is who sent a request.
type visitor struct {
	user  *auth.User // nil where there are no tokens, and on routes by anyone
	token string     // that came with the request; "" where a cookie did
	until time.Time  // the end of the session whose cookie came
	all   bool       // everything is there for this visitor: there are no tokens, or the user is an admin
}

// owner is whose the jobs are that a visitor submits.
func (v *visitor) owner() string {
	if v.user == nil {
		return ""
	}
	return v.user.Name
}

// sees reports whether jobs and images of an owner are there for a visitor.
func (v *visitor) sees(owner string) bool {
	return v.all || v.user != nil && v.user.Name == owner
}

// authenticate finds out who sends a request to a route, and refuses who may not. What a browser sends by itself, a
// cookie, a password that it remembers, or nothing where nothing is needed, could be sent by a web page of anybody's:
// such requests must come from this server's own pages, or those of Config.CORS, if they change anything.
func (s *Server) authenticate(x *exchange, r *http.Request, pattern string) error {
	need := accesses[pattern]
	scheme, credentials := authorization(r)
	if scheme != "bearer" {
		if err := s.sameSite.Check(r); err != nil {
			return &failure{kind: foreignOrigin, err: err}
		}
	}
	if s.tokens == nil {
		x.all = true
		return nil
	}
	if need == byAnyone {
		return nil
	}
	v, given := s.identify(r, scheme, credentials)
	if v.user == nil {
		return s.unauthorized(x, given)
	}
	v.all = v.user.Role == auth.Admin
	x.visitor = v
	if need == byAdmin && !v.all {
		return &failure{kind: forbidden}
	}
	return nil
}

// authorization is the header of that name: its scheme in lower case, "" where there is none.
func authorization(r *http.Request) (scheme, credentials string) {
	values := r.Header.Values("Authorization")
	switch len(values) {
	case 0:
		return "", ""
	case 1:
		scheme, credentials, _ = strings.Cut(values[0], " ")
		return strings.ToLower(scheme), strings.TrimLeft(credentials, " ")
	}
	return "several", ""
}

// identify finds the user of a token or session. given reports whether a token came.
func (s *Server) identify(r *http.Request, scheme, credentials string) (v visitor, given bool) {
	tokens := s.tokens.Get()
	switch scheme {
	case "bearer":
		v.token = credentials
		v.user = tokens.Find(v.token)
		return v, true
	case "basic":
		name := ""
		if plain, err := base64.StdEncoding.DecodeString(credentials); err == nil {
			name, v.token, _ = strings.Cut(string(plain), ":")
		}
		if v.user = tokens.Find(v.token); v.user != nil && v.user.Name != name { // a name is no secret
			v.user = nil
		}
		return v, true
	case "":
		if cookie, err := r.Cookie(sessionCookie); err == nil {
			v.user, v.until = s.sessions.User(tokens, cookie.Value, time.Now())
		}
		return v, false
	}
	return v, true
}

// unauthorized is the failure of a request without a token, or with a wrong one.
func (s *Server) unauthorized(x *exchange, given bool) error {
	challenge := `Bearer realm="goxl"`
	if given {
		if wait := s.failures.Note(x.from.client, time.Now()); wait > 0 {
			return &failure{kind: tooManyFailures, retry: wait}
		}
		challenge += `, error="invalid_token"`
	}
	h := x.Header()
	h.Add("WWW-Authenticate", challenge)
	if path := x.r.URL.Path; strings.HasPrefix(path, "/sdapi/") || strings.HasPrefix(path, "/controlnet/") { // elsewhere browsers would open a dialog of their own
		h.Add("WWW-Authenticate", `Basic realm="goxl", charset="UTF-8"`)
	}
	if given {
		return &failure{kind: wrongToken}
	}
	return &failure{kind: noToken}
}
