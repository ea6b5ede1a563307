package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

func (s *Server) download(x *exchange) error {
	id := x.r.PathValue("id")
	i, done, err := s.findImage(x, id)
	if err != nil {
		return err
	}
	defer done()
	x.id = id
	if err := x.conn.work(); err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Type", string(i.Type))
	h.Set("Content-Disposition", `attachment; filename="`+id+i.Type.Ending()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Etag", etag(i.Modified, i.Bytes))
	http.ServeContent(&contentWriter{exchange: x}, inBytes(x.r), "", i.Modified, i.Content)
	return nil
}

// etag names what a file holds. It is strong: the server writes a file once, and who writes it again changes its time.
func etag(modified time.Time, size int64) string {
	return fmt.Sprintf(`"%x-%x"`, modified.UnixNano(), size)
}

// inBytes gives a request whose range http.ServeContent can read: it knows the unit bytes in lower case alone, and
// refuses another, which RFC 9110 wants ignored.
func inBytes(r *http.Request) *http.Request {
	unit, set, _ := strings.Cut(r.Header.Get("Range"), "=")
	if unit == "" || unit == "bytes" {
		return r
	}
	r = r.Clone(r.Context())
	if strings.EqualFold(unit, "bytes") {
		r.Header.Set("Range", "bytes="+set)
	} else {
		r.Header.Del("Range")
	}
	return r
}

// contentWriter answers as all errors are answered what http.ServeContent refuses in words of its own.
type contentWriter struct {
	*exchange
	refused bool
}

func (w *contentWriter) WriteHeader(status int) {
	if status < 400 {
		w.exchange.WriteHeader(status)
		return
	}
	w.refused = true
	for _, name := range []string{"Content-Disposition", "Etag", "Last-Modified"} { // of the image
		w.Header().Del(name)
	}
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		w.fail(&failure{kind: badRange})
	case http.StatusPreconditionFailed:
		w.fail(&failure{kind: badCondition})
	default:
		w.fail(fmt.Errorf("status %d while sending an image", status))
	}
}

func (w *contentWriter) Write(b []byte) (int, error) {
	if w.refused {
		return len(b), nil // http.ServeContent's words
	}
	n, err := w.exchange.Write(b)
	if err != nil {
		w.err = err // http.ServeContent keeps it to itself
	}
	return n, err
}
