package hub

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/goxl/goxl/kernels"
)

// What an error of this package can be, for errors.Is.
var (
	ErrNotFound = errors.New("not found on the hub")                // repository, revision or file
	ErrDenied   = errors.New("the hub gives no access")             // gated, private, or a wrong token
	ErrNoSpace  = errors.New("no space left for the download")      // what was downloaded stays
	ErrCorrupt  = errors.New("what was downloaded is not the file") // length or hash
	ErrServer   = errors.New("the hub can't be reached")            // or answers in no way that a hub does
)

// statusError is an answer that is no success.
type statusError struct {
	status  int
	code    string // X-Error-Code
	message string // X-Error-Message
	url     string
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%s: %d %s", e.url, e.status, http.StatusText(e.status))
	if e.code != "" {
		s += ", " + e.code
	}
	if e.message != "" {
		s += fmt.Sprintf(" (%q)", e.message)
	}
	return s
}

// newStatusError describes an answer; who has it closes its body.
func newStatusError(r *http.Response) *statusError {
	short := func(s string) string { return s[:min(len(s), 200)] }
	u := *r.Request.URL
	u.RawQuery = "" // a signature, maybe
	e := &statusError{status: r.StatusCode, code: short(r.Header.Get("X-Error-Code")), message: short(r.Header.Get("X-Error-Message")), url: u.String()}
	return e
}

// transient reports whether trying again may help.
func transient(err error) bool {
	var s *statusError
	if errors.As(err, &s) {
		switch s.status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return errors.Is(err, ErrServer) || errors.Is(err, io.ErrUnexpectedEOF)
}

// explain turns an answer about a name into an error that says what to do.
func (c *Client) explain(n Name, err error) error {
	var s *statusError
	if !errors.As(err, &s) {
		return fmt.Errorf("%s: %w", n, err)
	}
	switch {
	case s.code == "RevisionNotFound":
		return fmt.Errorf("%s: the repository has no revision %q: %w: %w", n, n.Revision, ErrNotFound, err)
	case s.code == "EntryNotFound":
		return fmt.Errorf("%s: the repository has no such file: %w: %w", n, ErrNotFound, err)
	case s.code == "GatedRepo":
		return fmt.Errorf("%s: %w: the model is gated: accept its terms at %s/%s, and set HF_TOKEN to a token of that account: %w", n, ErrDenied, c.Endpoint, n.Repo, err)
	case s.status == http.StatusUnauthorized && c.Token == "":
		return fmt.Errorf("%s: %w: there is no such model, or it is private or gated: check the name, or set HF_TOKEN: %w", n, ErrDenied, err)
	case s.status == http.StatusUnauthorized:
		return fmt.Errorf("%s: %w: the token (HF_TOKEN, or that of hf auth login) is not valid, or there is no such model: %w", n, ErrDenied, err)
	case s.status == http.StatusForbidden:
		return fmt.Errorf("%s: %w: the token's account may not read it: accept its terms at %s/%s if it is gated, or check the token's permissions: %w", n, ErrDenied, c.Endpoint, n.Repo, err)
	case s.code == "RepoNotFound", s.status == http.StatusNotFound:
		return fmt.Errorf("%s: there is no such model at %s, or it is private: %w: %w", n, c.Endpoint, ErrNotFound, err)
	}
	return fmt.Errorf("%s: %w: %w", n, ErrServer, err)
}

// spaceError says how much lacks where.
func spaceError(dir string, need, free int64) error {
	s := fmt.Sprintf("%s needs %s", dir, kernels.FormatBytes(need))
	if free >= 0 {
		s += " and has " + kernels.FormatBytes(free)
	}
	return fmt.Errorf("%w: %s; what was downloaded stays, and the next try goes on from there", ErrNoSpace, strings.TrimSpace(s))
}
