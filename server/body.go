package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
	"unicode/utf8"
)

// Bytes of a body.
const (
	maxBody    = 64 << 10 // answers says so too
	maxJobBody = 90 << 20 // of those that may have an image in base64
	smallBody  = 1 << 20  // of those that are read at any time
)

// mostLarge is how many larger bodies are in memory at once, until their requests are answered.
const mostLarge = 8

// admitLarge lets a request whose body may be large have it read, unless too many do.
func (s *Server) admitLarge(x *exchange) error {
	if 0 <= x.r.ContentLength && x.r.ContentLength <= smallBody {
		return nil
	}
	select {
	case s.large <- struct{}{}:
		x.done = func() { <-s.large }
		return nil
	default:
		return &failure{kind: largeBodies}
	}
}

// readBody reads the whole body, within limits of size and time. Once it has ended, net/http lifts the limit of time,
// and the request's context ends when the client hangs up and not before.
func (s *Server) readBody(x *exchange, most int64) ([]byte, error) {
	if most > maxBody {
		if err := s.admitLarge(x); err != nil {
			return nil, err
		}
	}
	if x.conn == nil { // the handler alone is in use
		deadline := time.Now().Add(s.config.BodyTimeout)
		if err := http.NewResponseController(x).SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return nil, err // a recorder in place of a connection has no time to limit
		}
	}
	data, err := io.ReadAll(http.MaxBytesReader(x.ResponseWriter, x.r.Body, most))
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil:
		x.bodyRead = true
		return data, nil
	case errors.As(err, &tooLarge):
		return nil, &failure{kind: bodyTooLarge, detail: fmt.Sprintf("Request body is too large: must be at most %d bytes", most), err: err}
	case errors.Is(err, os.ErrDeadlineExceeded) && s.draining.Load():
		return nil, &failure{kind: stopping, err: err}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &failure{kind: bodyTooSlow, err: err}
	case x.r.Context().Err() != nil:
		return nil, context.Cause(x.r.Context())
	}
	return nil, &failure{kind: badBody, err: err}
}

// readFields reads a body that must be a JSON object.
func (s *Server) readFields(x *exchange) (*fields, error) {
	data, err := s.readBody(x, maxBody)
	if err != nil {
		return nil, err
	}
	f, p := parseFields(data, x.r.Header.Get("Content-Type"))
	if p != nil {
		return nil, &failure{kind: invalid, problems: []problem{*p}}
	}
	return f, nil
}

func parseFields(data []byte, contentType string) (*fields, *problem) {
	if len(data) == 0 {
		return nil, &problem{Type: "missing", Loc: []any{"body"}, Msg: "Field required", Input: json.RawMessage("null")}
	}
	if !isJSON(contentType) {
		text, err := json.Marshal(beginning(string(data)))
		if err != nil {
			return nil, invalidJSON(0, err.Error())
		}
		return nil, notAnObject(text)
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	if i := firstInvalidUTF8(data); i >= 0 {
		return nil, invalidJSON(utf8.RuneCount(data[:i]), "the body is not valid UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(data, &whole); err != nil {
		at := len(data)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && int(syntax.Offset) <= len(data) && !strings.HasPrefix(err.Error(), "unexpected end") {
			at = max(int(syntax.Offset)-1, 0) // Offset counts the byte that was wrong
		}
		return nil, invalidJSON(utf8.RuneCount(data[:at]), err.Error())
	}
	whole = bytes.TrimSpace(whole)
	f := &fields{whole: whole}
	if whole[0] != '{' || json.Unmarshal(whole, &f.values) != nil {
		return nil, notAnObject(whole)
	}
	return f, nil
}

// beginning is what an error quotes of a text that is no JSON. All of it would be up to six times as long in an answer
// as in a request.
func beginning(text string) string {
	const most = 256 // bytes
	if len(text) <= most {
		return text
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// isJSON goes by the type as FastAPI does. Without one the body counts as text, so that no web page can post here behind its user's back.
func isJSON(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	return t == "application/json" || strings.HasPrefix(t, "application/") && strings.HasSuffix(t, "+json")
}

func firstInvalidUTF8(data []byte) int {
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// invalidJSON is a syntax error at a position in characters.
func invalidJSON(at int, reason string) *problem {
	return &problem{Type: "json_invalid", Loc: []any{"body", at}, Msg: "JSON decode error", Input: json.RawMessage("{}"),
		Ctx: map[string]any{"error": reason}}
}

func notAnObject(input json.RawMessage) *problem {
	return &problem{Type: "model_attributes_type", Loc: []any{"body"},
		Msg: "Input should be a valid dictionary or object to extract fields from", Input: input}
}
