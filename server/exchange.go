package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
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
	r        *http.Request
	pattern  string // of its route, once that is known; "" where there is none
	from     arrival
	visitor        // once the request is let in
	conn     *conn // nil where the handler alone is in use
	bodyRead bool  // to its end; also where there is none
	began    time.Time
	done     func() // is called by release, nil for nothing
	log      *slog.Logger
	status   int      // 0 until answered
	id       string   // of the image, if there is one
	job      string   // id of the job, if there is one
	warned   int      // warnings that the client was given
	preset   string   // what a few-step model was run with, and why
	held     []string // ids of images that are kept until it is answered
	kept     []string // ids of the images that came with it
	level    slog.Level
	err      error
}

func (s *Server) exchange(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{ResponseWriter: w, r: r, conn: connOf(r.Context()), began: time.Now(), log: s.config.Log}
	x.from = s.arrival(r, x.conn)
	x.bodyRead = r.Body == nil || r.Body == http.NoBody
	if x.conn != nil && !x.bodyRead {
		x.conn.beginBody()
	}
	if x.conn.faulty(r) {
		x.Header().Set("Connection", "close")
	}
	return x
}

// release lets others have what the request held for its body. It is called once the request is answered, or before.
func (x *exchange) release() {
	if x.done != nil {
		x.done()
		x.done = nil
	}
}

// WriteHeader notes the status. net/http would wait for the rest of a body before it sends anything: that comes after
// the answer, or never.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
		if x.lateBody() {
			_ = http.NewResponseController(x).EnableFullDuplex() // a recorder can't, and has no body that is late
		} else if !x.bodyRead {
			x.Header().Set("Connection", "close")
		}
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.WriteHeader(http.StatusOK)
	}
	return x.ResponseWriter.Write(b)
}

// lateBody reports whether a body was left unread that is worth to wait for: the connection can be used again when it
// has arrived.
func (x *exchange) lateBody() bool {
	return x.conn != nil && !x.bodyRead && 0 <= x.r.ContentLength && x.r.ContentLength <= maxBody && x.Header().Get("Connection") != "close"
}

// settle sends the answer to a request whose body nobody asked for, and then reads that.
func (x *exchange) settle() {
	if x.status == 0 || !x.lateBody() {
		return
	}
	err := http.NewResponseController(x).Flush()
	if err == nil {
		_, err = io.Copy(io.Discard, x.r.Body)
	}
	if err != nil {
		x.conn.giveUp()
	}
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
	text := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	x.Header().Set("Content-Type", "application/json")
	x.Header().Set("Content-Length", strconv.Itoa(len(text)))
	x.WriteHeader(status)
	if _, err := x.Write(text); err != nil {
		x.err = err // the client is gone; nothing is left to answer
	}
	return nil
}

// fail answers an error, if nothing was answered yet, and keeps it for the log.
func (x *exchange) fail(err error) {
	f := classify(err)
	if x.status != 0 {
		x.err, x.level = f, answers[f.kind].level
		return
	}
	if f.kind == clientGone && x.r.Context().Err() == nil {
		f = &failure{kind: internal, err: err} // something else was cancelled; the client still waits
	}
	a := answers[f.kind]
	x.err, x.level = f, a.level
	if a.retry > 0 {
		retry := max(a.retry, f.retry)
		x.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retry.Seconds()))))
	}
	if a.hangUp {
		x.Header().Set("Connection", "close")
	}
	status, body := errorAnswer(x.r.URL.Path, f)
	if rerr := x.reply(status, body); rerr != nil {
		x.err = rerr
	}
}

// polled are the routes that pages, clients and probes ask again and again, or many times at once. The log has what goes
// wrong with them, and the rest at level debug.
var polled = map[string]bool{
	"GET /{$}":                     true,
	"GET /page/{file}":             true,
	"GET /download/{id}/thumbnail": true,
	"GET /v1/jobs":                 true,
	"GET /v1/queue":                true,
	"GET /sdapi/v1/progress":       true,
	"GET /healthz":                 true,
	"GET /readyz":                  true,
	"GET /internal/ping":           true,
	"GET /metrics":                 true,
}

// longestPath is how many bytes of a path the log has; the paths that are served are shorter.
const longestPath = 128

// record logs the request: with the reason of an error of the server's own, which the client does not get, and without
// anything that the client wrote but the path.
func (x *exchange) record() {
	path := x.r.URL.Path
	if len(path) > longestPath {
		path = fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(path[:longestPath], ""), len(path))
	}
	attrs := []slog.Attr{
		slog.String("method", x.r.Method), slog.String("path", path), slog.String("client", x.from.name),
		slog.Int("status", x.status), slog.Duration("duration", time.Since(x.began)),
	}
	if x.user != nil {
		attrs = append(attrs, slog.String("user", x.user.Name))
	}
	if x.id != "" {
		attrs = append(attrs, slog.String("id", x.id))
	}
	if x.job != "" {
		attrs = append(attrs, slog.String("job", x.job))
	}
	if x.preset != "" {
		attrs = append(attrs, slog.String("preset", x.preset))
	}
	if x.warned > 0 {
		attrs = append(attrs, slog.Int("warnings", x.warned))
	}
	if x.err != nil {
		attrs = append(attrs, slog.String("error", x.err.Error()))
	}
	level := x.level
	if x.err == nil && x.status < http.StatusBadRequest && polled[x.pattern] {
		level = slog.LevelDebug
	}
	x.log.LogAttrs(x.r.Context(), level, "request", attrs...)
}
