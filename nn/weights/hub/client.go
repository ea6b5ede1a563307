package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client talks to the hub. Its methods may be called from several goroutines and processes.
type Client struct {
	Settings
	// HTTP sends requests; nil is a client that waits 30 s for an answer's header. Its redirects are not used.
	HTTP *http.Client
	// Progress, if not nil, is called as bytes arrive, by the goroutine of Pull: at most every 100 ms, and at the end.
	Progress func(Progress)
	// Log says what is repeated or waited for; nil is silent.
	Log *slog.Logger
	// Backoff is the wait before the first retry, which doubles; 0 is a second. Stall is how long no byte may arrive
	// before a connection counts as cut; 0 is a minute.
	Backoff, Stall time.Duration

	disk disk // nil functions are the system's
}

// retries is how often a request is repeated without a byte more than before; a list of files less often, since who
// mistyped a path waits for it.
const retries, listRetries = 5, 2

var defaultHTTP = &http.Client{Transport: func() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 30 * time.Second
	return t
}()}

func (c *Client) log() *slog.Logger {
	if c.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Log
}

// send sends a request without following redirects. The token goes to the endpoint's own host alone.
func (c *Client) send(ctx context.Context, method, address string, header http.Header) (*http.Response, error) {
	if at, err := url.Parse(c.Endpoint); err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, fmt.Errorf("HF_ENDPOINT is %q: must be a URL that begins with http:// or https://", c.Endpoint)
	}
	r, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		r.Header[k] = v
	}
	r.Header.Set("User-Agent", "goxl")
	r.Header.Set("Accept-Encoding", "identity") // lengths and ranges are those of the file
	if endpoint, err := url.Parse(c.Endpoint); err == nil && c.Token != "" && endpoint.Scheme == r.URL.Scheme && endpoint.Host == r.URL.Host {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	h := *defaultHTTP
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := h.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrServer, err)
	}
	return response, nil
}

// again calls f until it gives no transient error, or so many retries were of no use. progressed reports whether the last
// call brought something; it may be nil.
func (c *Client) again(ctx context.Context, what string, retries int, progressed func() bool, f func() error) error {
	wait := c.Backoff
	if wait == 0 {
		wait = time.Second
	}
	for n, next := 0, wait; ; next *= 2 {
		err := f()
		if err == nil || ctx.Err() != nil || !transient(err) {
			return err
		}
		if progressed != nil && progressed() {
			n, next = 0, wait
		}
		if n++; n > retries {
			return err
		}
		c.log().Warn("the hub is asked again", "for", what, "in", next, "why", err)
		select {
		case <-time.After(next):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// listing is what a repository holds at a commit.
type listing struct {
	Commit string `json:"sha"`
	Files  []file `json:"siblings"`
}

// file is one of a listing.
type file struct {
	Path string `json:"rfilename"`
	Size *int64 `json:"size"`
	Blob string `json:"blobId"` // git's SHA-1
	LFS  *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"`
}

// maxListing bounds the answer to a request for one.
const maxListing = 64 << 20

// list asks for a revision's commit and files.
func (c *Client) list(ctx context.Context, n Name) (l listing, err error) {
	address := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", c.Endpoint, n.Repo, url.PathEscape(n.Revision))
	err = c.again(ctx, n.String(), listRetries, nil, func() error {
		r, err := c.follow(ctx, http.MethodGet, address)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return newStatusError(r)
		}
		data, err := io.ReadAll(io.LimitReader(r.Body, maxListing))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrServer, err)
		}
		if err := json.Unmarshal(data, &l); err != nil {
			return fmt.Errorf("%s: the list of files can't be read: %w: check HF_ENDPOINT", address, err)
		}
		return nil
	})
	if err != nil {
		return l, c.explain(n, err)
	}
	if !commit.MatchString(l.Commit) {
		return l, fmt.Errorf("%s: %w: the answer's sha is %q: must be a commit of 40 hexadecimal digits: check HF_ENDPOINT", n, ErrServer, l.Commit)
	}
	for _, f := range l.Files {
		if !validFile(f.Path) {
			return l, fmt.Errorf("%s: the repository has a file %q: must be a path within it", n, f.Path)
		}
	}
	return l, nil
}

// follow is send that follows redirects within the endpoint's host, as those of a renamed repository. Others are
// returned.
func (c *Client) follow(ctx context.Context, method, address string) (*http.Response, error) {
	for range 10 {
		r, err := c.send(ctx, method, address, nil)
		if err != nil || r.StatusCode/100 != 3 {
			return r, err
		}
		to, err := r.Location()
		if err != nil || to.Host != r.Request.URL.Host || to.Scheme != r.Request.URL.Scheme {
			return r, nil
		}
		r.Body.Close()
		address = to.String()
	}
	return nil, fmt.Errorf("%s: more than 10 redirects", address)
}

// source is where a file's content is.
type source struct {
	url  string
	hash string // SHA-256 or git's SHA-1, of the ETag
	size int64  // −1 if it is not known
}

// locate asks where a file's content is, by a HEAD request.
func (c *Client) locate(ctx context.Context, n Name, commit, path string) (s source, err error) {
	var escaped []string
	for p := range strings.SplitSeq(path, "/") {
		escaped = append(escaped, url.PathEscape(p))
	}
	address := fmt.Sprintf("%s/%s/resolve/%s/%s", c.Endpoint, n.Repo, commit, strings.Join(escaped, "/"))
	r, err := c.follow(ctx, http.MethodHead, address)
	if err != nil {
		return s, err
	}
	r.Body.Close()
	if r.StatusCode/100 != 2 && r.StatusCode/100 != 3 {
		return s, newStatusError(r)
	}
	if at := r.Header.Get("X-Repo-Commit"); at != commit {
		return s, fmt.Errorf("%s: X-Repo-Commit is %q: must be %s, which was asked for: check HF_ENDPOINT", address, at, commit)
	}
	s = source{url: r.Request.URL.String(), size: -1}
	if to, err := r.Location(); err == nil && r.StatusCode/100 == 3 {
		s.url = to.String()
	} else if !errors.Is(err, http.ErrNoLocation) && r.StatusCode/100 == 3 {
		return s, fmt.Errorf("%s: a redirect to %q", address, r.Header.Get("Location"))
	}
	etag := r.Header.Get("X-Linked-Etag")
	if etag == "" {
		etag = r.Header.Get("ETag")
	}
	s.hash = strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)
	if kindOf(s.hash) == nil {
		return s, fmt.Errorf("%s: the ETag is %q: must be a SHA-256, or git's SHA-1 of the file: check HF_ENDPOINT", address, etag)
	}
	size := r.Header.Get("X-Linked-Size")
	if size == "" && r.StatusCode/100 == 2 {
		size = r.Header.Get("Content-Length")
	}
	if v, err := strconv.ParseInt(size, 10, 64); err == nil && v >= 0 {
		s.size = v
	}
	return s, nil
}
