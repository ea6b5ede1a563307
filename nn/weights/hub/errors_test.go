package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestErrors: what a hub refuses is said in a sentence with what to do, and nothing is written that Find takes for a
// model.
func TestErrors(t *testing.T) {
	status := func(status int, code, message string) func(s *server, c *Client) {
		return func(s *server, c *Client) {
			s.api = func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("X-Error-Code", code)
				w.Header().Set("X-Error-Message", message)
				w.WriteHeader(status)
				return true
			}
		}
	}
	header := func(name, value string) func(s *server, c *Client) {
		return func(s *server, c *Client) {
			s.api = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodHead || !strings.HasSuffix(r.URL.Path, "config.json") {
					return false
				}
				w.Header().Set("X-Repo-Commit", testCommit)
				w.Header().Set("ETag", `"`+strings.Repeat("a", 40)+`"`)
				w.Header().Set(name, value)
				return true
			}
		}
	}
	for name, test := range map[string]struct {
		change func(s *server, c *Client)
		of     string // the name that is pulled, "" for the pipeline
		is     error
		says   string
	}{
		"gated":           {status(403, "GatedRepo", "Access to model is restricted"), "", ErrDenied, "accept its terms at"},
		"gated, no token": {func(s *server, _ *Client) { s.token = "hf_x" }, "", ErrDenied, "HF_TOKEN"},
		"private":         {status(401, "RepoNotFound", "Invalid username or password."), "", ErrDenied, "set HF_TOKEN"},
		"a wrong token":   {func(s *server, c *Client) { c.Token = "hf_y"; status(401, "", "Invalid credentials")(s, c) }, "", ErrDenied, "is not valid"},
		"a weak token":    {status(403, "", "Forbidden"), "", ErrDenied, "permissions"},
		"no repository":   {status(404, "RepoNotFound", "Repository not found"), "", ErrNotFound, "no such model at http"},
		"no revision":     {func(*server, *Client) {}, testRepo + "@v9", ErrNotFound, `no revision "v9"`},
		"no file":         {func(*server, *Client) {}, testRepo + "/none.safetensors", ErrNotFound, "no file none.safetensors"},
		"an entry that went": {func(s *server, c *Client) {
			s.listing = func(l map[string]any) {
				l["siblings"] = append(l["siblings"].([]any), map[string]any{"rfilename": "gone.txt"})
			}
		}, testRepo + "/gone.txt", ErrNotFound, "no such file"},
		"a server that is down":      {func(s *server, _ *Client) { s.hub.Close() }, "", ErrServer, "can't be reached"},
		"an endpoint that is no URL": {func(_ *server, c *Client) { c.Endpoint = "hub.example" }, "", nil, `HF_ENDPOINT is "hub.example": must be a URL`},
		"a server that fails":        {status(502, "", ""), "", ErrServer, "502"},
		"no hub": {func(s *server, c *Client) {
			s.api = func(w http.ResponseWriter, r *http.Request) bool { fmt.Fprint(w, "<html>"); return true }
		}, "", nil, "check HF_ENDPOINT"},
		"a commit that is none": {func(s *server, _ *Client) { s.listing = func(l map[string]any) { l["sha"] = "../../etc" } }, "", ErrServer, "must be a commit"},
		"a path out of the folder": {func(s *server, _ *Client) {
			s.listing = func(l map[string]any) { l["siblings"] = []any{map[string]any{"rfilename": "../../../etc/passwd"}} }
		}, "", nil, "must be a path within it"},
		"a wrong ETag":         {header("X-Unused", ""), "", nil, "the ETag is aaaa"},
		"an ETag that is none": {header("ETag", `"../x"`), "", nil, "must be a SHA-256"},
		"another commit":       {header("X-Repo-Commit", strings.Repeat("b", 40)), "", nil, "X-Repo-Commit is"},
		"another size":         {header("X-Linked-Size", "7"), "", nil, ""},
		"a full disk":          {func(_ *server, c *Client) { c.disk.free = func(string) (int64, error) { return 1000, nil } }, "", ErrNoSpace, "needs"},
		"offline":              {func(_ *server, c *Client) { c.Offline = true }, "", ErrNotCached, "goxl pull maker/tiny-xl"},
		"no pipeline": {func(s *server, _ *Client) {
			delete(s.files, "model_index.json")
			delete(s.files, "whole_model.safetensors")
		}, "", nil, "no model_index.json"},
		"no weights": {func(s *server, _ *Client) {
			delete(s.files, "unet/diffusion_pytorch_model.safetensors")
			delete(s.files, "unet/diffusion_pytorch_model.fp16.safetensors")
		}, "", nil, "the component unet has no weights"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pipeline())
			c := s.client()
			test.change(s, c)
			if test.of == "" {
				test.of = testRepo
			}
			n := parsed(t, test.of)
			_, err := c.Ensure(t.Context(), n, half)
			if err == nil || test.is != nil && !errors.Is(err, test.is) || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), "maker/tiny-xl") {
				t.Fatalf("%v, want %v and %q", err, test.is, test.says)
			}
			t.Log(err)
			if path, err := c.Find(n); !errors.Is(err, ErrNotCached) {
				t.Errorf("Find: %q, %v", path, err)
			}
			if _, err := os.Stat(c.repo(n).path("refs", "main")); err == nil {
				t.Error("there is a ref")
			}
		})
	}
}

// full is a file on a disk that takes so many bytes more.
type full struct {
	partial
	room *int
}

func (f full) Write(p []byte) (int, error) {
	n := min(len(p), *f.room)
	*f.room -= n
	n, err := f.partial.Write(p[:n])
	if err == nil && n < len(p) {
		err = &os.PathError{Op: "write", Path: "blob", Err: syscall.ENOSPC}
	}
	return n, err
}

// TestDiskFull: what was downloaded when the disk became full stays, and the next try goes on from there.
func TestDiskFull(t *testing.T) {
	s := newServer(t, pipeline())
	c, n := s.client(), parsed(t, testRepo)
	room := 60_000
	c.disk.open = func(path string) (partial, error) {
		f, err := disk{}.grow(path)
		return full{f, &room}, err
	}
	_, err := c.Pull(t.Context(), n, half)
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	t.Log(err)
	c.disk.open = nil
	s.seen()
	dir, err := c.Pull(t.Context(), n, half)
	if err != nil {
		t.Fatal(err)
	}
	complete(t, s, c, dir, wanted(s.files))
	ranges := 0
	for _, request := range s.seen() {
		if strings.HasPrefix(request, "bytes=") {
			ranges++
		}
	}
	if ranges != 1 {
		t.Errorf("%d downloads went on from where they were, want 1", ranges)
	}
}

// TestTokenAndSignatures: the token goes to the hub alone; an address of the CDN that has run out is asked for again.
func TestTokenAndSignatures(t *testing.T) {
	s := newServer(t, pipeline())
	s.token, s.signed = "hf_secret", 1
	first := true
	s.content = func(w http.ResponseWriter, r *http.Request, data []byte) []byte {
		if first {
			first = false
			cut(w, r, data, 500)
		}
		return data
	}
	c := s.client()
	c.Token = s.token
	dir, err := c.Pull(t.Context(), parsed(t, testRepo), half)
	if err != nil {
		t.Fatal(err)
	}
	complete(t, s, c, dir, wanted(s.files))
}

// TestRenamed follows the relative redirects of a repository that has another name now.
func TestRenamed(t *testing.T) {
	s := newServer(t, pipeline())
	s.api = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "old/name") {
			w.Header().Set("Location", strings.Replace(r.URL.Path, "old/name", testRepo, 1)+"?"+r.URL.RawQuery)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
		return false
	}
	c := s.client()
	dir, err := c.Pull(t.Context(), parsed(t, "old/name"), half)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dir, "models--old--name") {
		t.Errorf("it lies in %s", dir)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "unet", "config.json")); err != nil || !bytes.Equal(data, s.files["unet/config.json"]) {
		t.Errorf("%v, or another content", err)
	}
}

// TestTogether: several clients of one cache download each blob once.
func TestTogether(t *testing.T) {
	s := newServer(t, pipeline())
	c, n := s.client(), parsed(t, testRepo)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := c.Pull(t.Context(), n, half); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	dir, err := c.Find(n)
	if err != nil {
		t.Fatal(err)
	}
	complete(t, s, c, dir, wanted(s.files))
	times := map[string]int{}
	for _, request := range s.seen() {
		if strings.Contains(request, "/blobs/") {
			times[request]++
		}
	}
	for request, n := range times {
		if n > 1 {
			t.Errorf("%s: %d times", request, n)
		}
	}
	if len(times) != 4 {
		t.Errorf("%d blobs of the CDN's", len(times))
	}
}

// TestCancelled: a download that is cancelled keeps what it has, and gives its lock back.
func TestCancelled(t *testing.T) {
	s := newServer(t, map[string][]byte{"big.safetensors": random(3_000_000, 1)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s.content = func(w http.ResponseWriter, r *http.Request, data []byte) []byte {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data[:2_000_000])
		w.(http.Flusher).Flush()
		time.AfterFunc(100*time.Millisecond, cancel)
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	c, n := s.client(), parsed(t, testRepo)
	if _, err := c.Pull(ctx, n, half); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.content = nil
	s.mu.Unlock()
	s.seen()
	if _, err := c.Pull(t.Context(), n, half); err != nil {
		t.Fatal(err)
	}
	seen := s.seen()
	if last := seen[len(seen)-1]; !strings.HasPrefix(last, "bytes=2000000-") {
		t.Errorf("the next download asks for %q", last)
	}
	noPartials(t, c)
}

// TestDamagedCache: a blob of a wrong length is downloaded again, a link to nothing too, and a file that was deleted from
// a snapshot.
func TestDamagedCache(t *testing.T) {
	s := newServer(t, pipeline())
	c, n := s.client(), parsed(t, testRepo)
	dir, err := c.Pull(t.Context(), n, half)
	if err != nil {
		t.Fatal(err)
	}
	r := c.repo(n)
	err = errors.Join(os.Truncate(r.blob(s.hash("unet/diffusion_pytorch_model.fp16.safetensors")), 100),
		os.Remove(r.blob(s.hash("vae/diffusion_pytorch_model.fp16.safetensors"))), os.Remove(filepath.Join(dir, "scheduler", "scheduler_config.json")))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(n); !errors.Is(err, ErrNotCached) {
		t.Errorf("Find: %v", err)
	}
	if dir, err = c.Ensure(t.Context(), n, half); err != nil {
		t.Fatal(err)
	}
	complete(t, s, c, dir, wanted(s.files))
}
