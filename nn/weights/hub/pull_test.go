package hub

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

var half = weights.Variant{Precision: kernels.F16}

func parsed(t *testing.T, s string) Name {
	t.Helper()
	n, err := ParseName(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// complete checks that a snapshot holds exactly the wanted files, as relative links to blobs, and nothing half-done.
func complete(t *testing.T, s *server, c *Client, dir string, want []string) {
	t.Helper()
	r := c.repo(parsed(t, testRepo))
	got, err := r.files(s.commit)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("the snapshot holds %q, want %q", got, want)
	}
	for _, path := range want {
		file := filepath.Join(dir, filepath.FromSlash(path))
		data, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(data, s.files[path]) {
			t.Errorf("%s: %v, or another content", path, err)
		}
		to, err := os.Readlink(file)
		up := strings.Repeat("../", 2+strings.Count(path, "/"))
		if err != nil || to != up+"blobs/"+s.hash(path) {
			t.Errorf("%s is a link to %q, %v", path, to, err)
		}
	}
	noPartials(t, c)
	if ref, err := os.ReadFile(r.path("refs", "main")); err != nil || string(ref) != s.commit {
		t.Errorf("refs/main is %q, %v", ref, err)
	}
}

func noPartials(t *testing.T, c *Client) {
	t.Helper()
	err := filepath.WalkDir(c.Cache, func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, incomplete) || strings.HasSuffix(path, ".tmp") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPull downloads the files of a pipeline, and them alone, in the cache's layout; a second start asks nothing.
func TestPull(t *testing.T) {
	s := newServer(t, pipeline())
	c := s.client()
	var last Progress
	c.Progress = func(p Progress) { last = p }
	n := parsed(t, testRepo)
	dir, err := c.Ensure(t.Context(), n, half)
	if err != nil {
		t.Fatal(err)
	}
	want := wanted(s.files)
	complete(t, s, c, dir, want)
	var total int64
	for _, path := range want {
		total += int64(len(s.files[path]))
	}
	if !last.Finished || last.Bytes != total || last.Total != total || last.Files != len(want) || last.Done != len(want) {
		t.Errorf("progress ended at %+v, want %d bytes of %d files", last, total, len(want))
	}
	s.seen()
	offline := *c
	offline.Offline = true
	for _, client := range []*Client{c, &offline} {
		if again, err := client.Ensure(t.Context(), n, half); err != nil || again != dir {
			t.Errorf("the second start: %q, %v", again, err)
		}
	}
	if seen := s.seen(); len(seen) > 0 {
		t.Errorf("the second start asks %q", seen)
	}
	// Another variant brings what it needs besides.
	if _, err := c.Pull(t.Context(), n, weights.Variant{Precision: kernels.F32}); err != nil {
		t.Fatal(err)
	}
	for _, request := range s.seen() {
		if strings.Contains(request, "fp16") || strings.Contains(request, "vocab") {
			t.Errorf("the other variant: %s", request)
		}
	}
	// A revision of its own name is a ref of that name, at the same snapshot.
	if at, err := c.Pull(t.Context(), parsed(t, testRepo+"@refs/pr/1"), half); err != nil || at != dir {
		t.Errorf("refs/pr/1: %q, %v", at, err)
	}
	if at, err := c.Find(parsed(t, testRepo+"@"+testCommit)); err != nil || at != dir {
		t.Errorf("the commit: %q, %v", at, err)
	}
}

// TestPullUpdates takes over what has not changed of a new commit, and keeps the old snapshot.
func TestPullUpdates(t *testing.T) {
	s := newServer(t, pipeline())
	c, n := s.client(), parsed(t, testRepo)
	old, err := c.Pull(t.Context(), n, half)
	if err != nil {
		t.Fatal(err)
	}
	s.seen()
	s.mu.Lock()
	s.commit = strings.Repeat("ab", 20)
	s.files["vae/config.json"] = []byte(`{"new": true}`)
	s.mu.Unlock()
	dir, err := c.Pull(t.Context(), n, half)
	if err != nil {
		t.Fatal(err)
	}
	if dir == old {
		t.Error("the snapshot is the old one")
	}
	complete(t, s, c, dir, wanted(s.files))
	for _, request := range s.seen() {
		if strings.Contains(request, "/blobs/") {
			t.Errorf("%s: what was there is downloaded again", request)
		}
	}
	if _, err := os.Stat(filepath.Join(old, "vae", "config.json")); err != nil {
		t.Error(err)
	}
}

// TestFiles: one file by its path; a repository of one file; of several the error lists them.
func TestFiles(t *testing.T) {
	s := newServer(t, map[string][]byte{"README.md": []byte("x"), "lora.safetensors": random(3000, 1), "more/other.safetensors": random(10, 2)})
	c := s.client()
	for name, path := range map[string]string{testRepo: "lora.safetensors", testRepo + "/more/other.safetensors": "more/other.safetensors", testRepo + "/README.md@main": "README.md"} {
		got, err := c.Ensure(t.Context(), parsed(t, name), half)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(got); err != nil || !bytes.Equal(data, s.files[path]) {
			t.Errorf("%s: %v, or another file", name, err)
		}
	}
	s.files["second.safetensors"] = random(10, 3)
	_, err := s.client().Ensure(t.Context(), parsed(t, testRepo), half)
	if err == nil || !strings.Contains(err.Error(), "lora.safetensors, second.safetensors") {
		t.Errorf("two files: %v", err)
	}
}
