//go:build amd64 && !noasm

package cpu

import (
	"math"
	"unsafe"
)

// vecConstants are what the assembly reads, each spread over the eight lanes of AVX2: offsets in vecmath_amd64.h.
//
//lint:ignore U1000 the assembly reads it
var vecConstants = func() (table [27][8]float32) {
	values := []float64{math.Log2E, math.Ln2, 0, 1, -0.5, expMax, expMin, tailMax, float64(quickMul)}
	values[2] = math.Ln2 - float64(float32(math.Ln2))
	values = append(values, expPoly[:]...)
	values = append(values, tailNum[:]...)
	values = append(values, tailDen[1:]...)
	values = append(values, math.Inf(-1))
	for i, v := range values {
		for lane := range table[i] {
			table[i][lane] = float32(v)
		}
	}
	for lane := range 8 {
		table[25][lane] = math.Float32frombits(0x7fffffff) // all but the sign
		table[26][lane] = math.Float32frombits(127)        // exponent bias, an integer
	}
	return table
}()

// vecTail holds the masks of AVX2's last, partial vector: the eight words from word 8−n on select n lanes.
//
//lint:ignore U1000 the assembly reads it
var vecTail = [16]int32{-1, -1, -1, -1, -1, -1, -1, -1}

// The assembly functions (vecmath_avx2_amd64.s, vecmath_avx512_amd64.s) take pointers to n > 0 elements; the closures
// around them check lengths, as vecKernels promises.

//go:noescape
func siluAVX2(dst, src *float32, n int)

//go:noescape
func geluAVX2(dst, src *float32, n int)

//go:noescape
func quickGELUAVX2(dst, src *float32, n int)

//go:noescape
func reluAVX2(dst, src *float32, n int)

//go:noescape
func leakyReLUAVX2(dst, src *float32, n int)

//go:noescape
func preluAVX2(dst, x, slope *float32, n int)

//go:noescape
func gegluAVX2(dst, value, gate *float32, n int)

//go:noescape
func expShiftSumAVX2(x *float32, n int, shift float32) float32

//go:noescape
func maxAVX2(x *float32, n int) float32

//go:noescape
func sumsAVX2(x *float32, n int, shift float32) (sum, square float32)

//go:noescape
func accumulateAVX2(sum, square, x, shift *float32, n int)

//go:noescape
func scaleShiftAVX2(dst, x, scale, shift *float32, n int)

//go:noescape
func normalizeAVX2(dst, x, scale, shift *float32, n int, mean, rstd float32)

//go:noescape
func addAVX2(dst, x, y *float32, n int)

//go:noescape
func siluAVX512(dst, src *float32, n int)

//go:noescape
func geluAVX512(dst, src *float32, n int)

//go:noescape
func quickGELUAVX512(dst, src *float32, n int)

//go:noescape
func reluAVX512(dst, src *float32, n int)

//go:noescape
func leakyReLUAVX512(dst, src *float32, n int)

//go:noescape
func preluAVX512(dst, x, slope *float32, n int)

//go:noescape
func gegluAVX512(dst, value, gate *float32, n int)

//go:noescape
func expShiftSumAVX512(x *float32, n int, shift float32) float32

//go:noescape
func maxAVX512(x *float32, n int) float32

//go:noescape
func sumsAVX512(x *float32, n int, shift float32) (sum, square float32)

//go:noescape
func accumulateAVX512(sum, square, x, shift *float32, n int)

//go:noescape
func scaleShiftAVX512(dst, x, scale, shift *float32, n int)

//go:noescape
func normalizeAVX512(dst, x, scale, shift *float32, n int, mean, rstd float32)

//go:noescape
func addAVX512(dst, x, y *float32, n int)

var vecAVX2 = vecKernels{
	silu:       checked2(siluAVX2),
	gelu:       checked2(geluAVX2),
	quickGELU:  checked2(quickGELUAVX2),
	relu:       checked2(reluAVX2),
	leakyReLU:  checked2(leakyReLUAVX2),
	softClamp:  softClamp,
	geglu:      checked3(gegluAVX2),
	prelu:      checked3(preluAVX2),
	add:        checked3(addAVX2),
	accumulate: checked4(accumulateAVX2),
	scaleShift: checked4(scaleShiftAVX2),
	expShiftSum: func(x []float32, shift float32) float32 {
		if len(x) == 0 {
			return 0
		}
		return expShiftSumAVX2(&x[0], len(x), shift)
	},
	max: func(x []float32) float32 {
		return maxAVX2(unsafe.SliceData(x), len(x))
	},
	sums: func(x []float32, shift float32) (sum, square float32) {
		return sumsAVX2(unsafe.SliceData(x), len(x), shift)
	},
	normalize: func(dst, x, scale, shift []float32, mean, rstd float32) {
		if n := len(dst); n > 0 {
			normalizeAVX2(&dst[0], &x[:n][0], &scale[:n][0], &shift[:n][0], n, mean, rstd)
		}
	},
}

var vecAVX512 = vecKernels{
	silu:       checked2(siluAVX512),
	gelu:       checked2(geluAVX512),
	quickGELU:  checked2(quickGELUAVX512),
	relu:       checked2(reluAVX512),
	leakyReLU:  checked2(leakyReLUAVX512),
	softClamp:  softClamp,
	geglu:      checked3(gegluAVX512),
	prelu:      checked3(preluAVX512),
	add:        checked3(addAVX512),
	accumulate: checked4(accumulateAVX512),
	scaleShift: checked4(scaleShiftAVX512),
	expShiftSum: func(x []float32, shift float32) float32 {
		if len(x) == 0 {
			return 0
		}
		return expShiftSumAVX512(&x[0], len(x), shift)
	},
	max: func(x []float32) float32 {
		return maxAVX512(unsafe.SliceData(x), len(x))
	},
	sums: func(x []float32, shift float32) (sum, square float32) {
		return sumsAVX512(unsafe.SliceData(x), len(x), shift)
	},
	normalize: func(dst, x, scale, shift []float32, mean, rstd float32) {
		if n := len(dst); n > 0 {
			normalizeAVX512(&dst[0], &x[:n][0], &scale[:n][0], &shift[:n][0], n, mean, rstd)
		}
	},
}

// checked2 slices two operands to the length of the first for f.
func checked2(f func(dst, src *float32, n int)) func(dst, src []float32) {
	return func(dst, src []float32) {
		if n := len(dst); n > 0 {
			f(&dst[0], &src[:n][0], n)
		}
	}
}

// checked3 is checked2 for three operands.
func checked3(f func(dst, x, y *float32, n int)) func(dst, x, y []float32) {
	return func(dst, x, y []float32) {
		if n := len(dst); n > 0 {
			f(&dst[0], &x[:n][0], &y[:n][0], n)
		}
	}
}

// checked4 is checked2 for four operands.
func checked4(f func(a, b, c, d *float32, n int)) func(a, b, c, d []float32) {
	return func(a, b, c, d []float32) {
		if n := len(a); n > 0 {
			f(&a[0], &b[:n][0], &c[:n][0], &d[:n][0], n)
		}
	}
}
