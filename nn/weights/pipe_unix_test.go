//go:build unix

package weights

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPipes: what is no regular file is refused by name, and nothing waits for a pipe's writer.
func TestPipes(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe.safetensors"), filepath.Join(dir, "link.safetensors")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	if err := os.Symlink(pipe, link); err != nil {
		t.Skip(err)
	}
	for path, says := range map[string]string{pipe: "a named pipe", link: "a named pipe", "/dev/null": "a device", dir: "a folder"} {
		_, err := Open(path)
		var bad *FileError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if path == dir {
			continue
		}
		if kind, err := Recognise(path); err != nil || kind.Form != UnknownForm || !strings.Contains(kind.String(), says) {
			t.Errorf("%s: %v, %v", path, kind, err)
		}
		if _, err := OpenFolder(path); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s as a folder: %v", path, err)
		}
	}
}
