package weights

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// snapshot returns the folder of files behind a hub cache entry, which huggingface_hub lays out as refs, blobs and
// snapshots: the one that refs/main names, else the only or the newest one. Any other folder is returned as it is.
func snapshot(dir string) (string, error) {
	if !isHubEntry(dir) {
		return dir, nil
	}
	root := filepath.Join(dir, "snapshots")
	if ref, err := readSmall(filepath.Join(dir, "refs", "main")); err == nil {
		if name := strings.TrimSpace(string(ref)); plainName(name) && isDir(filepath.Join(root, name)) {
			return filepath.Join(root, name), nil
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return "", err
	}
	newest, at := "", time.Time{}
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if info, err := os.Stat(path); err == nil && info.IsDir() && (newest == "" || info.ModTime().After(at)) {
			newest, at = path, info.ModTime()
		}
	}
	if newest == "" {
		return "", fmt.Errorf("%s is a hub cache entry that has no snapshot: download the model first", dir)
	}
	return newest, nil
}

// isHubEntry reports whether dir is a hub cache entry, and not a folder that only has a part of that name.
func isHubEntry(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, indexFile)); err == nil || !isDir(filepath.Join(dir, "snapshots")) {
		return false
	}
	return isDir(filepath.Join(dir, "refs")) || isDir(filepath.Join(dir, "blobs"))
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
