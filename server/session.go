package server

import (
	"net/http"
	"time"

	"github.com/goxl/goxl/job"
	"github.com/goxl/goxl/server/auth"
)

// A session lets a browser send what it sends without a header: images, and the events of jobs.
const (
	sessionCookie = "goxl_session"
	sessionTime   = 7 * 24 * time.Hour
)

// sessionView is who a visitor is, and what is left to it.
type sessionView struct {
	Name         string     `json:"name,omitzero" jsonschema:"None where no tokens are needed."`
	Role         auth.Role  `json:"role"`
	Until        time.Time  `json:"until,omitzero" jsonschema:"The end of the session."`
	ImagesPerDay *quotaView `json:"images_per_day,omitempty"`
	Jobs         *quotaView `json:"jobs,omitempty" jsonschema:"Jobs at once."`
	Priority     int        `json:"max_priority"`
}

type quotaView struct {
	Limit int `json:"limit"`
	Left  int `json:"left"`
}

// getSession answers GET /v1/session: who asks.
func (s *Server) getSession(x *exchange) error { return s.replySession(x) }

// beginSession answers POST /v1/session, which must have a token in its header, with a cookie for it.
func (s *Server) beginSession(x *exchange) error {
	if x.user == nil { // no token is needed
		return s.replySession(x)
	}
	if x.token == "" { // but a cookie, which must not prolong itself for ever
		return s.unauthorized(x, false)
	}
	x.until = time.Now().Add(sessionTime).Truncate(time.Second)
	http.SetCookie(x, s.cookie(x, s.sessions.Begin(x.user, x.token, x.until), int(sessionTime.Seconds())))
	return s.replySession(x)
}

// endSession answers DELETE /v1/session.
func (s *Server) endSession(x *exchange) error {
	http.SetCookie(x, s.cookie(x, "", -1))
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// cookie lives for so many seconds; -1 removes it.
func (s *Server) cookie(x *exchange, value string, seconds int) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: value, Path: x.from.prefix + "/", MaxAge: seconds,
		HttpOnly: true, Secure: x.from.https, SameSite: http.SameSiteStrictMode,
	}
}

func (s *Server) replySession(x *exchange) error {
	x.Header().Set("Cache-Control", "no-store")
	if x.user == nil {
		return x.reply(http.StatusOK, sessionView{Role: auth.Admin, Priority: job.MaxPriority})
	}
	u := x.user
	v := sessionView{Name: u.Name, Role: u.Role, Until: x.until, Priority: u.Priority}
	images, jobs, err := s.quotas.used(s, u)
	if err != nil {
		return err
	}
	if u.ImagesPerDay > 0 {
		v.ImagesPerDay = &quotaView{u.ImagesPerDay, max(0, u.ImagesPerDay-images)}
	}
	if u.Jobs > 0 {
		v.Jobs = &quotaView{u.Jobs, max(0, u.Jobs-jobs)}
	}
	return x.reply(http.StatusOK, v)
}
