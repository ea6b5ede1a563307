package openapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"time"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed docs.css
	docsCSS []byte
)

// policy lets the page load its style and the web page's script of colours from the server, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"anchor": anchor}).Parse(pageHTML))

// Page shows a document as HTML. base is the URL that its paths begin with, for examples.
func Page(d *Document, base string) ([]byte, error) {
	var b bytes.Buffer
	err := pageTemplate.Execute(&b, newView(d, base))
	return b.Bytes(), err
}

// types are the media types of what the page is of.
var types = map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".json": "application/json"}

// ServeFile answers a request for a file that the page loads, and reports whether there is one of that name.
func ServeFile(w http.ResponseWriter, r *http.Request, name string) bool {
	if name != "docs.css" {
		return false
	}
	Serve(w, r, name, docsCSS)
	return true
}

// Serve answers with a file of the page. A browser asks each time whether it has changed, by its hash.
func Serve(w http.ResponseWriter, r *http.Request, name string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(name)])
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	h.Set("Etag", fmt.Sprintf(`"%x"`, sha256.Sum256(data)))
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}
