package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"time"
)

// getter fetches one file.
type getter struct {
	*download
	path   string
	source source
	file   partial
	at     int64 // bytes that file has
}

// restart forgets what was fetched.
func (g *getter) restart() error {
	g.meter.Bytes -= g.at
	g.at = 0
	if err := g.file.Truncate(0); err != nil {
		return err
	}
	_, err := g.file.Seek(0, io.SeekStart)
	return err
}

var contentRange = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+|\*)$`)

// once sends one request for what is missing and writes what it brings. A connection that ends early is a transient
// error; what it brought is kept.
func (g *getter) once(ctx context.Context) error {
	size := g.source.size
	if size >= 0 && g.at > size {
		if err := g.restart(); err != nil {
			return err
		}
	}
	if size >= 0 && g.at == size {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r, err := g.request(ctx)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	switch {
	case r.StatusCode == http.StatusRequestedRangeNotSatisfiable && g.at > 0:
		if size < 0 {
			return nil // it may be complete: the hash tells
		}
		if err := g.restart(); err != nil {
			return err
		}
		return fmt.Errorf("%w: it does not go on at byte %d", ErrServer, g.at)
	case r.StatusCode == http.StatusPartialContent:
		m := contentRange.FindStringSubmatch(r.Header.Get("Content-Range"))
		if m == nil || m[1] != strconv.FormatInt(g.at, 10) {
			if err := g.restart(); err != nil {
				return err
			}
			return fmt.Errorf("%w: the answer's Content-Range is %q", ErrServer, r.Header.Get("Content-Range"))
		}
	case r.StatusCode == http.StatusOK:
		if g.at > 0 { // the server knows no ranges
			if err := g.restart(); err != nil {
				return err
			}
		}
	default:
		return newStatusError(r)
	}
	return g.copy(ctx, r.Body, cancel)
}

// request follows redirects to where the content is. Where a signed address is refused, it has run out: the file is
// located again.
func (g *getter) request(ctx context.Context) (*http.Response, error) {
	header := http.Header{}
	if g.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", g.at))
	}
	address := g.source.url
	for located, hops := false, 0; hops < 10; hops++ {
		r, err := g.send(ctx, http.MethodGet, address, header)
		if err != nil {
			return nil, err
		}
		if to, err := r.Location(); err == nil && r.StatusCode/100 == 3 {
			r.Body.Close()
			address = to.String()
			continue
		}
		if (r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusGone) && !located {
			r.Body.Close()
			located = true
			s, err := g.locate(ctx, g.name, g.commit, g.path)
			if err != nil {
				return nil, err
			}
			address, g.source.url = s.url, s.url
			continue
		}
		return r, nil
	}
	return nil, fmt.Errorf("%s: more than 10 redirects", g.source.url)
}

var errStalled = errors.New("no byte came for too long")

// copy writes a body to the file.
func (g *getter) copy(ctx context.Context, body io.Reader, cancel context.CancelCauseFunc) error {
	stall := g.Stall
	if stall == 0 {
		stall = time.Minute
	}
	timer := time.AfterFunc(stall, func() { cancel(errStalled) })
	defer timer.Stop()
	buffer := make([]byte, 1<<20)
	for {
		n, err := body.Read(buffer)
		timer.Reset(stall)
		if room := g.source.size - g.at; g.source.size >= 0 && int64(n) > room {
			n, err = int(room), io.EOF // whether it is the file, its hash tells
		}
		if n > 0 {
			wrote, err := g.file.Write(buffer[:n])
			g.at += int64(wrote)
			g.meter.add(wrote)
			if err != nil {
				return g.full(err, g.source)
			}
		}
		switch {
		case err == io.EOF && g.source.size >= 0 && g.at < g.source.size:
			return fmt.Errorf("%w: the answer ended after %d of %d bytes: %w", ErrServer, g.at, g.source.size, io.ErrUnexpectedEOF)
		case err == io.EOF:
			return nil
		case err != nil && errors.Is(context.Cause(ctx), errStalled):
			return fmt.Errorf("%w: %w", ErrServer, errStalled)
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("%w: the connection was cut after %d bytes: %w", ErrServer, g.at, err)
		}
	}
}
