package main

import (
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// serveHub serves a folder as the repository maker/tiny-xl, by the hub's routes, and counts the requests.
func serveHub(t *testing.T, dir string) *atomic.Int64 {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	etag := func(data []byte) string {
		sum := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(data)), data...))
		return hex.EncodeToString(sum[:])
	}
	var files []any
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, relErr := filepath.Rel(dir, path)
		files = append(files, map[string]any{"rfilename": filepath.ToSlash(rel), "size": len(data), "blobId": etag(data)})
		return errors.Join(err, relErr)
	})
	if err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("X-Repo-Commit", commit)
		if r.URL.Path == "/api/models/maker/tiny-xl/revision/main" {
			_ = json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": files})
			return
		}
		path, ok := strings.CutPrefix(r.URL.Path, "/maker/tiny-xl/resolve/"+commit+"/")
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
		if !ok || err != nil {
			w.Header().Set("X-Error-Code", "RepoNotFound")
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("ETag", `"`+etag(data)+`"`)
		http.ServeFile(w, r, filepath.Join(dir, filepath.FromSlash(path)))
	}))
	t.Cleanup(s.Close)
	t.Setenv("HF_ENDPOINT", s.URL)
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	t.Setenv("HF_HUB_OFFLINE", "")
	t.Setenv("HF_TOKEN", "")
	return &requests
}

// TestPull downloads a model by pull, or by -model, once, and makes an image of it without the server.
func TestPull(t *testing.T) {
	folder := synthesised(t, "base")
	dir := t.TempDir()
	requests := serveHub(t, folder)
	a := must(t, "pull", "maker/tiny-xl", "-device", "cpu")
	path := strings.TrimSpace(a.out)
	if _, err := os.Stat(filepath.Join(path, "model_index.json")); err != nil || !strings.HasPrefix(path, os.Getenv("HF_HUB_CACHE")) {
		t.Fatalf("it prints %q: %v", a.out, err)
	}
	if !strings.Contains(a.err, "files, ") || !strings.Contains(a.err, " of ") {
		t.Errorf("progress: %q", a.err)
	}
	before := requests.Load()
	must(t, tiny(dir, "-model", "maker/tiny-xl")...)
	t.Setenv("HF_HUB_OFFLINE", "1")
	must(t, tiny(dir, "-model", "maker/tiny-xl")...)
	must(t, "check", "maker/tiny-xl", "-device", "cpu")
	if a := must(t, "inspect", "maker/tiny-xl"); !strings.Contains(a.out, "model folder") {
		t.Errorf("inspect says %q", a.out)
	}
	if n := requests.Load(); n != before {
		t.Errorf("%d requests for a model that is there", n-before)
	}
	if got := texts(t, filepath.Join(dir, "out.png")); got["model"] != "tiny-xl" {
		t.Errorf("the image says %q", got["model"])
	}
	t.Setenv("HF_HUB_CACHE", t.TempDir())
	if a := goxl(t, tiny(dir, "-model", "maker/tiny-xl")...); a.status != 1 || !strings.Contains(a.err, "HF_HUB_OFFLINE") {
		t.Errorf("offline: status %d: %s", a.status, a.err)
	}
	t.Setenv("HF_HUB_OFFLINE", "")
	a = must(t, "generate", "-model", "maker/tiny-xl", "-device", "cpu", "-prompt", "p", "-steps", "1", "-o", filepath.Join(dir, "out.png"))
	if !strings.Contains(a.err, "downloading") {
		t.Errorf("-model says nothing of the download: %s", a.err)
	}
	if a := must(t, "pull", "maker/tiny-xl", "-device", "cpu", "-quiet"); a.err != "" {
		t.Errorf("-quiet: %q", a.err)
	}
	for name, want := range map[string]string{"maker/none": "there is no such model", "maker/tiny-xl/none.txt": "no file none.txt", "tiny-xl": "must be ORG/NAME"} {
		if a := goxl(t, "pull", name); a.status == 0 || !strings.Contains(a.err, want) || a.out != "" {
			t.Errorf("pull %s: status %d: %s%s", name, a.status, a.out, a.err)
		}
	}
}
