package weights

import (
	"encoding/binary"
	"math"
	"runtime"
	"sync"

	"github.com/goxl/goxl/kernels"
)

// The float16 of every float8, by its bits. float16 has more exponents and a longer fraction than both kinds, so that
// nothing is rounded.
var (
	// e4m3 is torch.float8_e4m3fn: exponent bias 7, no infinities, NaN where exponent and fraction are all ones.
	e4m3 = fp16Table(func(bits byte) float64 {
		exponent, fraction := int(bits>>3&15), float64(bits&7)
		switch {
		case bits&0x7f == 0x7f:
			return math.NaN()
		case exponent == 0:
			return math.Ldexp(fraction, -9)
		}
		return math.Ldexp(8+fraction, exponent-10)
	})
	// e5m2 is torch.float8_e5m2, the upper half of a float16.
	e5m2 = func() (t [256]uint16) {
		for i := range t {
			t[i] = uint16(i) << 8
		}
		return t
	}()
)

// fp16Table is the float16 of each of 256 numbers, whose magnitude does not depend on the first bit, their sign.
func fp16Table(magnitude func(bits byte) float64) (t [256]uint16) {
	for i := range t {
		t[i] = kernels.ToF16(float32(magnitude(byte(i)))) | uint16(i&0x80)<<8
	}
	return t
}

func fp16OfE4M3(data []byte) []byte { return lookedUp(data, &e4m3) }

func fp16OfE5M2(data []byte) []byte { return lookedUp(data, &e5m2) }

// lookedUp puts every byte through a table of 16-bit numbers, which come out little-endian.
func lookedUp(data []byte, table *[256]uint16) []byte {
	out := make([]byte, 2*len(data))
	parallel(len(data), 1, func(from, to int) { lookUp(out[2*from:2*to], data[from:to], table) })
	return out
}

// lookUp is lookedUp for one goroutine. It takes eight bytes at a time.
func lookUp(out, data []byte, table *[256]uint16) {
	for len(data) >= 8 && len(out) >= 16 {
		b := binary.LittleEndian.Uint64(data)
		lower := uint64(table[byte(b)]) | uint64(table[byte(b>>8)])<<16 | uint64(table[byte(b>>16)])<<32 | uint64(table[byte(b>>24)])<<48
		upper := uint64(table[byte(b>>32)]) | uint64(table[byte(b>>40)])<<16 | uint64(table[byte(b>>48)])<<32 | uint64(table[byte(b>>56)])<<48
		binary.LittleEndian.PutUint64(out, lower)
		binary.LittleEndian.PutUint64(out[8:], upper)
		data, out = data[8:], out[16:]
	}
	for i, b := range data {
		binary.LittleEndian.PutUint16(out[2*i:], table[b])
	}
}

// parallelGrain is how many elements are worth a goroutine of their own.
const parallelGrain = 1 << 18

// parallel cuts the indices from 0 to n, each of so many elements, into as many parts as there are CPUs, or fewer
// if they would be small, and returns when work has had every part.
func parallel(n, elements int, work func(from, to int)) {
	parts := max(1, min(runtime.GOMAXPROCS(0), n, n*elements/parallelGrain))
	var wg sync.WaitGroup
	for part := range parts - 1 {
		wg.Go(func() { work(part*(n/parts), (part+1)*(n/parts)) })
	}
	work((parts-1)*(n/parts), n)
	wg.Wait()
}
