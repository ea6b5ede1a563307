package server

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"
)

// handler answers a request; an error that it returns is answered by [exchange.fail].
type handler func(x *exchange) error

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := w.(*exchange) // Server.ServeHTTP, the mux's only caller, made it
	x.r = r            // with the path's values
	if err := h(x); err != nil {
		x.fail(err)
	}
}

// exchange is a request with its answer, and what the log will say of them.
type exchange struct {
	http.ResponseWriter
	r      *http.Request
	began  time.Time
	log    *slog.Logger
	status int    // 0 until answered
	id     string // of the picture, if there is one
	err    error
}

// WriteHeader notes the status.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	return x.ResponseWriter.Write(b)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

// reply sends body as JSON.
func (x *exchange) reply(status int, body any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return err
	}
	x.Header().Set("Content-Type", "application/json")
	x.WriteHeader(status)
	if _, err := x.Write(bytes.TrimSuffix(b.Bytes(), []byte("\n"))); err != nil {
		x.err = err // the client is gone; nothing is left to answer
	}
	return nil
}

// fail answers an error, if nothing was answered yet, and keeps it for the log.
func (x *exchange) fail(err error) {
	x.err = err
	if x.status != 0 {
		return
	}
	f := classify(err)
	if f.kind == clientGone && x.r.Context().Err() == nil {
		f = &failure{kind: internal} // something else was cancelled; the client still waits
	}
	a := answers[f.kind]
	if a.retry > 0 {
		retry := max(a.retry, f.retry)
		x.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	}
	if a.hangUp {
		x.Header().Set("Connection", "close")
	}
	var detail any = f.words()
	if len(f.problems) > 0 {
		detail = f.problems
	}
	if rerr := x.reply(a.status, map[string]any{"detail": detail}); rerr != nil {
		x.err = rerr
	}
}

// record logs the request. Errors of the server's own are logged with their reason, which the client does not get.
func (x *exchange) record() {
	level := slog.LevelInfo
	if x.status >= 500 {
		level = slog.LevelError
	}
	attrs := []slog.Attr{
		slog.String("method", x.r.Method), slog.String("path", x.r.URL.Path),
		slog.Int("status", x.status), slog.Duration("duration", time.Since(x.began)),
	}
	if x.id != "" {
		attrs = append(attrs, slog.String("id", x.id))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	x.log.LogAttrs(x.r.Context(), level, "request", attrs...)
}
