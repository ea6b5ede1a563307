//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package weights

import (
	"io"
	"os"
)

// mapping reports whether mapFile maps, rather than reads into memory.
const mapping = false

// mapFile reads the file, where this package has no mapping.
func mapFile(f *os.File, size int) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(f, data)
	return data, err
}

func releaseFile([]byte) error { return nil }

func unmapFile([]byte) error { return nil }
