package cpu

import "unsafe"

// alignment of every value and of scratch, in bytes and in float32: a cache line and a vector of AVX-512.
const (
	alignBytes  = 64
	alignFloats = alignBytes / 4
)

// arena is memory for one run: scratch and temporaries of whichever program runs.
type arena struct {
	memory []float32
	// generation counts the times that memory moved, so that programs know when to bind their views again.
	generation uint64
}

// resize makes the arena n float32 long; it moves if it has to grow, or if less than half of it is needed.
func (a *arena) resize(n int) {
	if n <= len(a.memory) && n > len(a.memory)/2 || n == len(a.memory) {
		return
	}
	a.memory = nil // the collector may take the old one first
	a.memory = alignedFloats(n)
	a.generation++
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

// shrink drops the memory if less than half of it is needed; the next run makes a new one.
func (a *arena) shrink(n int) {
	if n <= len(a.memory)/2 && len(a.memory) > 0 {
		a.memory = nil
		a.generation++
	}
}
