//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package weights

import (
	"os"

	"golang.org/x/sys/unix"
)

// mapping reports whether mapFile maps, rather than reads into memory.
const mapping = true

// mapFile maps a whole file, read only. It is shared, so that processes that use the same model hold one copy.
func mapFile(f *os.File, size int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
}

func releaseFile(data []byte) error { return unix.Madvise(data, unix.MADV_DONTNEED) }

func unmapFile(data []byte) error { return unix.Munmap(data) }
