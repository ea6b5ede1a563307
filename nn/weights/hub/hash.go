package hub

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"os"
	"regexp"
)

var (
	sha1Hex   = regexp.MustCompile(`^[0-9a-f]{40}$`)
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// kindOf is the function whose result for a file of so many bytes a blob is named after; nil if it is none.
func kindOf(name string) func(size int64) hash.Hash {
	switch {
	case sha256Hex.MatchString(name):
		return func(int64) hash.Hash { return sha256.New() }
	case sha1Hex.MatchString(name):
		return func(size int64) hash.Hash {
			h := sha1.New()
			fmt.Fprintf(h, "blob %d\x00", size) // as git stores it
			return h
		}
	}
	return nil
}

// verify checks that a file has the length, unless that is −1, and the hash that it should.
func verify(path, want string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if size >= 0 && info.Size() != size {
		return fmt.Errorf("%w: it has %d bytes: must have %d", ErrCorrupt, info.Size(), size)
	}
	h := kindOf(want)(info.Size())
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return fmt.Errorf("%w: its hash is %s: must be %s", ErrCorrupt, got, want)
	}
	return nil
}
