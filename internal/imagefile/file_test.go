package imagefile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fullDisk is the real file system with one operation that fails.
type fullDisk struct {
	osDisk
	fail string
}

type fullFile struct {
	file
	fail string
}

func (d fullDisk) create(path, replaced string) (file, error) {
	if d.fail == "create" {
		return nil, syscall.ENOSPC
	}
	f, err := d.osDisk.create(path, replaced)
	return fullFile{f, d.fail}, err
}

func (d fullDisk) rename(from, to string) error {
	if d.fail == "rename" {
		return syscall.ENOSPC
	}
	return d.osDisk.rename(from, to)
}

func (d fullDisk) syncDir(path string) error {
	if d.fail == "sync directory" {
		return syscall.ENOSPC
	}
	return d.osDisk.syncDir(path)
}

func (f fullFile) Write(b []byte) (int, error) {
	if f.fail == "write" {
		n, _ := f.file.Write(b[:len(b)/2])
		return n, syscall.ENOSPC
	}
	return f.file.Write(b)
}

func (f fullFile) Sync() error {
	if f.fail == "sync" {
		return syscall.ENOSPC
	}
	return f.file.Sync()
}

func (f fullFile) Close() error {
	err := f.file.Close()
	if f.fail == "close" {
		return syscall.ENOSPC
	}
	return err
}

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.png")
	for _, content := range []string{"first", "second"} {
		if err := WriteFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != content {
			t.Errorf("file holds %q, want %q", got, content)
		}
	}
	if got := names(t, dir); got != "a.png" {
		t.Errorf("directory holds %q", got)
	}
	if err := WriteFile(filepath.Join(dir, "missing", "a.png"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	for _, fail := range []string{"create", "write", "sync", "close", "rename", "sync directory"} {
		t.Run(fail, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.png")
			if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			err := writeFile(fullDisk{fail: fail}, path, []byte("new content"))
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v, want one that names the file and ENOSPC", err)
			}
			want := "old"
			if fail == "sync directory" {
				want = "new content"
			}
			if got, _ := os.ReadFile(path); string(got) != want {
				t.Errorf("file holds %q, want %q", got, want)
			}
			if got := names(t, dir); got != "a.png" {
				t.Errorf("directory holds %q", got)
			}
		})
	}
}

// A file that is replaced leaves its permissions to the new one.
func TestPermissionsStay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %o, want 600", got)
	}
}
