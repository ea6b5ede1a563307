package server

import (
	"fmt"
	"net/http"
	"strings"
)

// cors says which web pages of other origins may read the answers.
type cors struct {
	any     bool
	origins map[string]bool
}

// ParseOrigins reads a list as Config.CORS: origins with commas between them, or "*".
func ParseOrigins(list string) (origins []string, err error) {
	if list == "" {
		return nil, nil
	}
	origins = strings.Split(list, ",")
	_, err = newCORS(origins, http.NewCrossOriginProtection())
	return origins, err
}

// newCORS lets the origins through the protection from other ones too.
func newCORS(origins []string, protection *http.CrossOriginProtection) (c cors, err error) {
	c.origins = map[string]bool{}
	for _, origin := range origins {
		if origin == "*" {
			c.any = true
			continue
		}
		_, host, _ := strings.Cut(origin, "://")
		if protection.AddTrustedOrigin(origin) != nil || !isAuthority(host) || origin != strings.ToLower(origin) {
			return c, fmt.Errorf("%q: must be an origin in lower case, as https://example.com or http://localhost:3000, or *", origin)
		}
		c.origins[origin] = true
	}
	if c.any && len(c.origins) > 0 {
		return c, fmt.Errorf("* beside other origins: must be alone")
	}
	return c, nil
}

// exposed are the headers of answers that a page may read.
const exposed = "Location, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Idempotent-Replayed, Content-Disposition, ETag, " +
	"WWW-Authenticate, X-Goxl-Ignored"

// preflightAge is for how many seconds a browser may keep what a preflight was answered.
const preflightAge = "600"

// allow lets a page of an origin that is allowed read the answer. It reports whether the request was a preflight, which
// is answered then.
func (c *cors) allow(x *exchange, r *http.Request) (answered bool) {
	if !c.any && len(c.origins) == 0 {
		return false
	}
	h := x.Header()
	if !c.any {
		h.Add("Vary", "Origin")
	}
	origin := r.Header.Get("Origin")
	if origin == "" || !c.any && !c.origins[origin] {
		return false
	}
	if c.any {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		h.Set("Access-Control-Expose-Headers", exposed)
		return false
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" { // "*" would not cover Authorization
		h.Set("Access-Control-Allow-Headers", asked)
	}
	h.Set("Access-Control-Max-Age", preflightAge)
	x.WriteHeader(http.StatusNoContent)
	return true
}
