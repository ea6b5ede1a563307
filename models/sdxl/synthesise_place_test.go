//go:build unix

package sdxl

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/goxl/goxl/kernels"
)

// Whatever stands where the folder shall be and is no folder stays as it is: a file, a pipe (as any device), a link.
func TestSynthesiseReplacesNothing(t *testing.T) {
	for name, place := range map[string]struct {
		put  func(dir string) error
		want string
	}{
		"file":               {func(dir string) error { return os.WriteFile(dir, []byte("mine"), 0o600) }, "a regular file"},
		"pipe":               {func(dir string) error { return syscall.Mkfifo(dir, 0o600) }, "a pipe"},
		"link to a file":     {func(dir string) error { return os.Symlink("kept", dir) }, "a regular file"},
		"link to nothing":    {func(dir string) error { return os.Symlink("nowhere", dir) }, "a link to nothing"},
		"link to itself":     {func(dir string) error { return os.Symlink(filepath.Base(dir), dir) }, "too many levels"},
		"link to files":      {func(dir string) error { return os.Symlink("full", dir) }, "not empty"},
		"path below a file":  {func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory"},
		"folder with a file": {func(dir string) error { return os.CopyFS(dir, os.DirFS(filepath.Join(filepath.Dir(dir), "full"))) }, "not empty"},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			os.WriteFile(filepath.Join(parent, "kept"), []byte("kept"), 0o600)
			os.Mkdir(filepath.Join(parent, "full"), 0o700)
			os.WriteFile(filepath.Join(parent, "full", "kept"), []byte("kept"), 0o600)
			out := filepath.Join(parent, "out")
			if err := place.put(out); err != nil {
				t.Fatal(err)
			}
			before := listing(t, parent)
			dir := out
			if name == "path below a file" {
				dir = filepath.Join(out, "model")
			}
			err := Synthesise(t.Context(), "tiny", kernels.F32, dir)
			if err == nil || !strings.Contains(err.Error(), place.want) || !strings.Contains(err.Error(), out) {
				t.Errorf("error %v, want one that names %s and says %q", err, out, place.want)
			}
			if after := listing(t, parent); after != before {
				t.Errorf("the folder changed from\n%sto\n%s", before, after)
			}
		})
	}
}

// A link to an empty folder is followed: the model is where the link leads, and the link stays.
func TestSynthesiseFollowsALink(t *testing.T) {
	parent := t.TempDir()
	if err := os.Mkdir(filepath.Join(parent, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(parent, "link")
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	if err := Synthesise(t.Context(), "tiny", kernels.F32, link); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != "real" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	if _, err := os.Stat(filepath.Join(parent, "real", "model_index.json")); err != nil {
		t.Error(err)
	}
}

// listing is the mode and size of everything below dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		size := info.Size()
		if info.IsDir() {
			size = 0
		}
		b.WriteString(strings.Join([]string{path, info.Mode().String(), string(rune('0' + size%64)), "\n"}, " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
