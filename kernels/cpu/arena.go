package cpu

import (
	"runtime/debug"
	"unsafe"
)

// alignment of every value and of scratch, in bytes and in float32: a cache line and a vector of AVX-512.
const (
	alignBytes  = 64
	alignFloats = alignBytes / 4
)

// largeArena is from how many bytes memory goes back to the system at once when the arena lets go of it. Less is left
// to the garbage collector: it is not worth a collection, nor the page faults of the next run.
const largeArena = 16 << 20

// arena is memory for one run: scratch and temporaries of whichever program runs. Programs point into it while they
// run, and at no other time.
type arena struct {
	memory []float32
}

func (a *arena) bytes() int64 { return 4 * int64(len(a.memory)) }

// suits reports whether the arena holds n float32 and is not more than twice as large.
func (a *arena) suits(n int) bool {
	return n <= len(a.memory) && n > len(a.memory)/2 || n == len(a.memory)
}

// move gives the arena n float32. The old ones are gone before the new ones are there.
func (a *arena) move(n int) {
	large := a.bytes() >= largeArena
	a.memory = nil
	if large {
		debug.FreeOSMemory()
	}
	a.memory = alignedFloats(n)
}

// alignedFloats returns n zeroed float32 on a cache line.
func alignedFloats(n int) []float32 {
	if n == 0 {
		return nil
	}
	m := make([]float32, n+alignFloats-1)
	at := 0
	if past := uintptr(unsafe.Pointer(&m[0])) % alignBytes; past != 0 {
		at = int(alignBytes-past) / 4
	}
	return m[at : at+n : at+n]
}
