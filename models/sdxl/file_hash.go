package sdxl

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// fileHashes are those of this process: models of several devices have one file hashed once.
var fileHashes hashes

// hashes are the SHA-256 of files in hexadecimal, computed again only where a file has changed.
type hashes struct {
	mu    sync.Mutex
	known map[string]*hashed
}

// hashed is the hash of a file as it was. Its lock is held while that is computed.
type hashed struct {
	mu       sync.Mutex
	size     int64
	modified time.Time
	hash     string
}

// of is a file's hash; info is of before it was opened for compute, which reads it.
func (h *hashes) of(path string, info fs.FileInfo, compute func() (string, error)) (string, error) {
	h.mu.Lock()
	entry := h.known[path]
	if entry == nil {
		if h.known == nil {
			h.known = map[string]*hashed{}
		}
		entry = &hashed{}
		h.known[path] = entry
	}
	h.mu.Unlock()
	entry.mu.Lock()
	defer entry.mu.Unlock()
	if entry.hash != "" && entry.size == info.Size() && entry.modified.Equal(info.ModTime()) {
		return entry.hash, nil
	}
	hash, err := compute()
	if err != nil {
		return "", err
	}
	entry.size, entry.modified, entry.hash = info.Size(), info.ModTime(), hash
	return hash, nil
}

// hashOfFile is a file's hash, "" of one that can't be read: whoever opens it says why.
func hashOfFile(path string) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	hash, err := fileHashes.of(path, info, func() (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err != nil {
			return "", err
		}
		return hex.EncodeToString(h.Sum(nil)), nil
	})
	if err != nil {
		return ""
	}
	return hash
}
