package sdxl

import (
	"crypto/rand"
	"encoding/binary"
)

// RandomSeed draws a seed of 53 bits, which every program that reads it from JSON or from the text of a PNG can hold.
func RandomSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) >> 11
}
