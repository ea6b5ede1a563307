package server

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

func (s *Server) download(x *exchange) error {
	id := x.r.PathValue("id")
	if err := s.checkImageOwner(x, id); err != nil {
		return err
	}
	f, format, err := s.store.Open(id)
	if err != nil {
		return err
	}
	defer f.Close()
	x.id = id
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := x.conn.work(); err != nil {
		return err
	}
	h := x.Header()
	h.Set("Content-Type", string(format))
	h.Set("Content-Disposition", `attachment; filename="`+id+format.Ending()+`"`)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Etag", etag(info))
	http.ServeContent(&contentWriter{exchange: x}, inBytes(x.r), "", info.ModTime(), f)
	return nil
}

// etag names what a file holds. It is strong: the server writes a file once, and who writes it again changes its time.
func etag(info os.FileInfo) string {
	return fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size())
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
