//go:build unix

package cpu

import (
	"os"
	"syscall"
	"testing"
)

// fenced returns n bytes that end at a page which must not be touched.
func fenced(t testing.TB, n int) []byte {
	page := os.Getpagesize()
	size := roundUp(n, page)
	all, err := syscall.Mmap(-1, 0, size+page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	if err := syscall.Mprotect(all[size:], syscall.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	return all[size-n : size : size]
}
