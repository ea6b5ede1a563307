package server

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// ParseBasePath reads a path as Config.BasePath: it begins with a slash, and has none at its end.
func ParseBasePath(path string) (string, error) {
	path = strings.TrimSuffix(path, "/")
	if path != "" && !isPrefix(path) {
		return "", fmt.Errorf("%q: must be a path of letters, digits and -._~, as /x or /a/b", path)
	}
	return path, nil
}

var prefixPath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)

// isPrefix tells whether other paths may begin with a path.
func isPrefix(path string) bool {
	return prefixPath.MatchString(path) && !strings.Contains(path+"/", "/./") && !strings.Contains(path+"/", "/../")
}

// below gives a request for a path below Config.BasePath as its routes have it, asking the host that the client asks.
// It answers what is not below, with answered.
func (s *Server) below(x *exchange, r *http.Request) (inner *http.Request, answered bool) {
	base := s.config.BasePath
	if base == "" && x.from.host == "" {
		return r, false
	}
	inner = new(*r)
	inner.URL = new(*r.URL)
	if x.from.host != "" {
		inner.Host = x.from.host
	}
	if r.URL.Path == base && base != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		target := url.URL{Path: x.from.prefix + "/", RawQuery: r.URL.RawQuery}
		x.Header().Set("Location", target.String())
		x.WriteHeader(http.StatusPermanentRedirect)
		return nil, true
	}
	var under, rawUnder bool
	inner.URL.Path, under = strings.CutPrefix(r.URL.Path, base)
	inner.URL.RawPath, rawUnder = strings.CutPrefix(r.URL.RawPath, base)
	if !under || !strings.HasPrefix(inner.URL.Path, "/") || r.URL.RawPath != "" && !rawUnder {
		x.fail(&failure{kind: notFound})
		return nil, true
	}
	x.r = inner
	return inner, false
}
