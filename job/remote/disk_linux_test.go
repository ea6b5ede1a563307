package remote

import (
	"os"
	"strings"
	"testing"
)

// A folder in memory is refused.
func TestFolderInMemory(t *testing.T) {
	folder, err := os.MkdirTemp("/dev/shm", "goxl-test")
	if err != nil {
		t.Skip("no file system in memory:", err)
	}
	defer os.RemoveAll(folder)
	if err := onDisk(folder); err == nil || !strings.Contains(err.Error(), "is in memory: must be on a disk") {
		t.Error(err)
	}
	if err := onDisk("/none"); err == nil {
		t.Error("a folder that is not there")
	}
}
