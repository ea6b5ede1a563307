// Package page is the web page of a server: one HTML file, its style and its scripts, all within the program. It needs
// no build, loads nothing from elsewhere, and names what it loads and asks by relative URLs, so that it works below any
// path.
package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"net/http"
	"path"
	"time"
)

//go:embed files
var files embed.FS

// Index is the name of the page itself; the other files are what it loads.
const Index = "index.html"

// policy lets the page load what the server sends, and previews that its scripts make, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are the media types of the files by their extensions. They do not depend on the machine, as package mime's do.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Serve answers a request for a file of the page, and reports whether there is one of that name. A browser asks each
// time whether it has changed, by its hash, so that page and server are always of one version.
func Serve(w http.ResponseWriter, r *http.Request, name string) bool {
	data, err := files.ReadFile("files/" + name)
	if err != nil {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(name)])
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	return true
}
