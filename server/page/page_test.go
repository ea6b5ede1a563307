package page

import (
	"bytes"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
)

func serve(t *testing.T, name string, header http.Header) (*httptest.ResponseRecorder, bool) {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header = header
	w := httptest.NewRecorder()
	return w, Serve(w, r, name)
}

func names(t *testing.T) (list []string) {
	t.Helper()
	entries, err := fs.ReadDir(files, "files")
	if err != nil || len(entries) < 3 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// Every file has a type, a policy and a hash, by which it is sent once.
func TestServe(t *testing.T) {
	tags := map[string]string{}
	for _, name := range names(t) {
		w, ok := serve(t, name, nil)
		h := w.Header()
		if want := types[path.Ext(name)]; !ok || w.Code != 200 || want == "" || h.Get("Content-Type") != want || w.Body.Len() == 0 {
			t.Errorf("%s: %d %v", name, w.Code, h)
		}
		for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
			if !strings.Contains(h.Get("Content-Security-Policy"), directive) {
				t.Errorf("%s: no %s in its policy", name, directive)
			}
		}
		tag := h.Get("Etag")
		if tags[tag] != "" {
			t.Errorf("%s and %s have the same Etag %s", name, tags[tag], tag)
		}
		tags[tag] = name
		if w, _ := serve(t, name, http.Header{"If-None-Match": {tag}}); w.Code != 304 || w.Body.Len() != 0 {
			t.Errorf("%s with its Etag: %d, %d bytes", name, w.Code, w.Body.Len())
		}
	}
	for _, name := range []string{"", ".", "..", "../page.go", "none.js", "/index.html"} {
		if w, ok := serve(t, name, nil); ok {
			t.Errorf("%q: %d", name, w.Code)
		}
	}
}

// What files name of each other is there, and is named relatively, so that the page works below any path. Nothing comes
// from elsewhere.
func TestReferences(t *testing.T) {
	have := map[string]bool{}
	for _, name := range names(t) {
		have[name] = false
	}
	reference := map[string]*regexp.Regexp{
		".html": regexp.MustCompile(`(?:href|src)="([^"#]+)"`),
		".js":   regexp.MustCompile(`(?m)(?:from|^import) '([^']+)'`),
		".css":  regexp.MustCompile(`url\(([^)]+)\)`),
	}
	linked := 0 // to the documentation of the API
	absolute := regexp.MustCompile(`https?://|["'(=]//?[a-z]`)
	for name := range have {
		data, err := files.ReadFile("files/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if path.Ext(name) == ".svg" {
			continue // names its namespace
		}
		if path.Ext(name) == ".js" {
			data = bytes.ReplaceAll(data, []byte("http://www.w3.org/2000/svg"), nil)
		}
		if found := absolute.Find(data); found != nil {
			t.Errorf("%s has %q: must be relative", name, found)
		}
		for _, match := range reference[path.Ext(name)].FindAllSubmatch(data, -1) {
			to := string(match[1])
			if name == Index && to == "docs" { // a route of the server's own, below the same path
				linked++
				continue
			}
			prefix := "./" // modules lie beside each other
			if name == Index {
				prefix = "page/" // the server's path of them
			}
			file, ok := strings.CutPrefix(to, prefix)
			if _, known := have[file]; !ok || !known {
				t.Errorf("%s names %q: must be %s and a file", name, to, prefix)
			}
			have[file] = true
		}
	}
	if linked != 1 {
		t.Errorf("the page has %d links to docs, want 1", linked)
	}
	for name, named := range have {
		if !named && name != Index {
			t.Errorf("nothing names %s", name)
		}
	}
}

// The scripts are modules of one subject each.
func TestLength(t *testing.T) {
	const most = 300
	for _, name := range names(t) {
		data, err := files.ReadFile("files/" + name)
		if lines := bytes.Count(data, []byte("\n")); err != nil || lines > most {
			t.Errorf("%s has %d lines: at most %d", name, lines, most)
		}
	}
}

// Every input of the page has a label, and every id is one element's.
func TestLabels(t *testing.T) {
	data, err := files.ReadFile("files/" + Index)
	if err != nil {
		t.Fatal(err)
	}
	html := string(data)
	seen := map[string]bool{}
	for _, match := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		if seen[match[1]] {
			t.Errorf("two elements have the id %s", match[1])
		}
		seen[match[1]] = true
	}
	inputs := regexp.MustCompile(`<(?:input|textarea|select)\b[^>]*>`).FindAllStringIndex(html, -1)
	if len(inputs) < 20 {
		t.Fatalf("%d inputs", len(inputs))
	}
	for _, at := range inputs {
		tag := html[at[0]:at[1]]
		id := regexp.MustCompile(` id="([^"]+)"`).FindStringSubmatch(tag)
		labelled := strings.Contains(tag, "aria-label=") || id != nil && strings.Contains(html, `for="`+id[1]+`"`) ||
			strings.LastIndex(html[:at[0]], "<label") > strings.LastIndex(html[:at[0]], "</label")
		if !labelled {
			t.Errorf("%s has no label", tag)
		}
	}
}
