package weights

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// hubEntry writes a hub cache entry as huggingface_hub does: files in blobs, snapshots of links to them, and a ref.
func hubEntry(t *testing.T, ref string, snapshots ...string) string {
	t.Helper()
	entry := filepath.Join(t.TempDir(), "models--org--name")
	write := func(path, content string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range snapshots {
		write(filepath.Join(entry, "blobs", name), baseIndex)
		dir := filepath.Join(entry, "snapshots", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..", "..", "blobs", name), filepath.Join(dir, indexFile)); err != nil {
			t.Fatal(err)
		}
		at := time.Date(2024, 1, 1+i, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(dir, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if ref != "" {
		write(filepath.Join(entry, "refs", "main"), ref)
	}
	return entry
}

func TestHubCacheEntry(t *testing.T) {
	for name, c := range map[string]struct {
		ref       string
		snapshots []string
		want      string
	}{
		"the ref":                 {"bbb", []string{"aaa", "bbb", "ccc"}, "bbb"},
		"the ref with a newline":  {"aaa\n", []string{"aaa", "bbb"}, "aaa"},
		"no ref, one snapshot":    {"", []string{"aaa"}, "aaa"},
		"no ref, the newest":      {"", []string{"zzz", "aaa", "mmm"}, "mmm"},
		"a ref that is not there": {"ddd", []string{"aaa", "bbb"}, "bbb"},
		"a ref out of the folder": {"../blobs", []string{"aaa"}, "aaa"},
		"an empty ref":            {"\n", []string{"aaa"}, "aaa"},
	} {
		entry := hubEntry(t, c.ref, c.snapshots...)
		folder, err := OpenFolder(entry)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := filepath.Join(entry, "snapshots", c.want); folder.Dir() != want {
			t.Errorf("%s: opens %s, want %s", name, folder.Dir(), want)
		}
		if _, err := folder.ReadFile(indexFile); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if kind, err := Recognise(entry); err != nil || kind.Form != ModelFolder || kind.Family != SDXLBase {
			t.Errorf("%s: recognised as %v, error %v", name, kind, err)
		}
	}
}

func TestHubCacheEntryRefuses(t *testing.T) {
	empty := hubEntry(t, "aaa")
	if err := os.MkdirAll(filepath.Join(empty, "snapshots"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, look := range []func(string) error{
		func(dir string) error { _, err := OpenFolder(dir); return err },
		func(dir string) error { _, err := Recognise(dir); return err },
	} {
		if err := look(empty); err == nil || !strings.Contains(err.Error(), "no snapshot") || !strings.Contains(err.Error(), empty) {
			t.Errorf("an entry without a snapshot: error %v", err)
		}
	}
	// A link whose blob was not downloaded.
	entry := hubEntry(t, "aaa", "aaa")
	broken := filepath.Join(entry, "snapshots", "aaa", "unet", "diffusion_pytorch_model.safetensors")
	if err := os.MkdirAll(filepath.Dir(broken), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../blobs/none", broken); err != nil {
		t.Fatal(err)
	}
	folder, err := OpenFolder(entry)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Component("unet", Variant{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "a link to a file that is not there") {
		t.Errorf("a broken link: error %v", err)
	}
	// A folder that only has one of that name is none.
	other := layout(t, map[string]string{"snapshots/readme.txt": "x"})
	if kind, err := Recognise(other); err != nil || kind.Form != UnknownForm {
		t.Errorf("a folder with snapshots of its own: %v, error %v", kind, err)
	}
}
