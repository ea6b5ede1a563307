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

// isPrefix reports whether other paths may begin with a path.
func isPrefix(path string) bool {
	return prefixPath.MatchString(path) && !strings.Contains(path+"/", "/./") && !strings.Contains(path+"/", "/../")
}

// below gives a request for a path below Config.BasePath as its routes have it, asking the host that the client asks.
// under is false for one that is not below; its path stays.
func (s *Server) below(x *exchange, r *http.Request) (inner *http.Request, under bool) {
	base := s.config.BasePath
	if base == "" && x.from.host == "" {
		return r, true
	}
	inner = new(*r)
	inner.URL = new(*r.URL)
	if x.from.host != "" {
		inner.Host = x.from.host
	}
	path, under := strings.CutPrefix(r.URL.Path, base)
	rawPath, rawUnder := strings.CutPrefix(r.URL.RawPath, base)
	if !under || !strings.HasPrefix(path, "/") || r.URL.RawPath != "" && !rawUnder {
		return inner, false
	}
	inner.URL.Path, inner.URL.RawPath = path, rawPath
	x.r = inner
	return inner, true
}

// redirectBase answers a request for Config.BasePath itself, without the slash at its end.
func (s *Server) redirectBase(x *exchange) (answered bool) {
	base := s.config.BasePath
	if base == "" || x.r.URL.Path != base || x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return false
	}
	target := url.URL{Path: x.from.prefix + "/", RawQuery: x.r.URL.RawQuery}
	x.Header().Set("Location", target.String())
	x.WriteHeader(http.StatusPermanentRedirect)
	return true
}
