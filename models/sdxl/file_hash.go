package sdxl

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/goxl/goxl/nn/weights"
)

// fileHashes are those of this process: models of several devices have one file hashed once.
var fileHashes hashes

// hashes are those of files by their paths, computed again only where a file has changed.
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
func hashOfFile(path string) string { return fileHashes.read(path, sha256Of) }

// read is the hash that compute makes of an open file.
func (h *hashes) read(path string, compute func(*os.File) (string, error)) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	hash, err := h.of(path, info, func() (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		return compute(f)
	})
	if err != nil {
		return ""
	}
	return hash
}

// sha256Of is the SHA-256 of the rest of a file in hexadecimal.
func sha256Of(f *os.File) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// shortHashes are those by which A1111 and model sites find adapters.
var shortHashes hashes

// shortHashOfFile is A1111's hash of an adapter (extensions-builtin/Lora/network.py): the first twelve digits of what
// the trainer wrote into the file as its hash, else of the SHA-256 of what is behind a safetensors file's header
// (AutoV3, which stays when the metadata is edited), or of another file's whole content. "" is as in [hashOfFile].
func shortHashOfFile(path string) string {
	hash := []rune(shortHashes.read(path, func(f *os.File) (string, error) {
		if !strings.EqualFold(filepath.Ext(path), ".safetensors") {
			return sha256Of(f)
		}
		opened, err := weights.Open(path)
		if err != nil {
			return "", err
		}
		trained := opened.Metadata()["sshs_model_hash"]
		if err := opened.Close(); err != nil || trained != "" {
			return trained, err
		}
		var header [8]byte
		if _, err := io.ReadFull(f, header[:]); err != nil {
			return "", err
		}
		if _, err := f.Seek(int64(binary.LittleEndian.Uint64(header[:])), io.SeekCurrent); err != nil {
			return "", err
		}
		return sha256Of(f)
	}))
	return string(hash[:min(12, len(hash))])
}
