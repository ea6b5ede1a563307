package lora

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// place writes empty files into a new folder.
func place(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestFind(t *testing.T) {
	dir := place(t, "a.safetensors", "b.c.safetensors", "sub/a.safetensors", "sub/d.PT", "sub/e.txt", "twice.pt", "other/twice.ckpt", "Zoë 1.safetensors")
	place(t, "../x.safetensors")
	for name, want := range map[string]string{
		"a": "a.safetensors", "b.c": "b.c.safetensors", "sub/a": "sub/a.safetensors", "d": "sub/d.PT", "sub/d": "sub/d.PT", "Zoë 1": "Zoë 1.safetensors",
		"twice": "twice.pt", "other/twice": "other/twice.ckpt",
	} {
		got, err := Find(dir, name)
		if err != nil || got != filepath.Join(dir, filepath.FromSlash(want)) {
			t.Errorf("%q is %s, %v; want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", "e", "x", "../x", "../../etc/passwd", "/etc/passwd", "sub", "sub/../a", "a.safetensors", "A", "./a", "a\x00"} {
		var e *FolderError
		if got, err := Find(dir, name); !errors.As(err, &e) || !strings.Contains(err.Error(), "there are: Zoë 1, a, b.c, d, twice") {
			t.Errorf("%q is %s, %v", name, got, err)
		}
	}
	two := place(t, "p/n.pt", "q/n.safetensors")
	if _, err := Find(two, "n"); err == nil || !strings.Contains(err.Error(), `"n" is the name of 2 files: p/n.pt, q/n.safetensors; allowed: a name with its folders, as in "p/n"`) {
		t.Errorf("an ambiguous name: %v", err)
	}
	if _, err := Find(filepath.Join(dir, "none"), "a"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a folder that is not there: %v", err)
	}
	if _, err := Find(t.TempDir(), "a"); err == nil || !strings.Contains(err.Error(), "the folder has none") {
		t.Errorf("an empty folder: %v", err)
	}
}

// Each of the names is one that Find takes for one file, and no file that Find has a name for is left out.
func TestFolderNames(t *testing.T) {
	dir := place(t, "a.safetensors", "sub/a.safetensors", "sub/d.PT", "sub/e.txt", "p/n.pt", "q/n.safetensors", "twice.pt", "twice.ckpt", "Zoë 1.safetensors")
	names, err := Names(dir)
	if want := []string{"Zoë 1", "a", "d", "p/n", "q/n", "sub/a"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("%q, %v; want %q", names, err, want)
	}
	found := map[string]bool{}
	for _, name := range names {
		file, err := Find(dir, name)
		if err != nil {
			t.Error(err)
		}
		found[file] = true
	}
	if len(found) != len(names) {
		t.Errorf("the names stand for %d files: %v", len(found), found)
	}
	if _, err := Names(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

func TestParsePath(t *testing.T) {
	dir := place(t, "a.safetensors", "b:0.5.pt")
	a, b := filepath.Join(dir, "a.safetensors"), filepath.Join(dir, "b:0.5.pt")
	for text, want := range map[string]struct {
		file     string
		strength string
	}{a: {a, "1"}, a + ":0.8": {a, "0.8"}, a + ":-1": {a, "-1"}, a + ":te=0.5:unet=1": {a, "te1=0.5:te2=0.5:unet=1"}, b: {b, "1"}, b + ":2": {b, "2"}} {
		file, s, err := ParsePath(text)
		if err != nil || file != want.file || s.String() != want.strength {
			t.Errorf("%s: %s at %v, %v", text, file, s, err)
		}
	}
	for text, want := range map[string]string{
		"": "must be FILE", a + ":much": "allowed:", a + ":": "", dir: "a folder", filepath.Join(dir, "c:1"): "no such file", filepath.Join(dir, "c"): "no such file",
	} {
		if _, _, err := ParsePath(text); want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
