//go:build amd64 && !noasm

package cpu

import "unsafe"

// gemmAVX512 needs AVX512F and AVX512DQ (and with them F16C and FMA). A tile of 12×32 has 24 of the 32 registers for
// sums, two for weights, six for broadcasts: 24 multiply-adds for 14 loads, and twelve row pointers are what the
// general registers hold.
var gemmAVX512 = &gemmKernels{
	tiling:   tiling{mr: 12, nr: 32, lanes: 1, tile: tileAVX512},
	narrow:   tiling{mr: 6, nr: 4, lanes: 16, tile: narrowAVX512},
	packRows: 16, dotK: 32,
	packF32: packF32AVX512, packF16: packF16AVX512, packBF16: packBF16AVX512,
	dotF32: dotF32AVX512, dotF16: dotF16AVX512, dotBF16: dotBF16AVX512,
	gather:   gatherAVX512,
	widenF16: widenF16AVX512, widenBF16: widenBF16AVX512, narrowF16: narrowF16AVX512, narrowBF16: narrowBF16AVX512,
	combine: combineAVX512,
	scale:   scaleAVX512,
	fmaPeak: fmaPeakAVX512, fmaFLOPs: 24 * 16 * 2,
}

// gemmAVX2 needs AVX2, FMA and F16C. A tile of 6×16 has 12 of the 16 registers for sums.
var gemmAVX2 = &gemmKernels{
	tiling:   tiling{mr: 6, nr: 16, lanes: 1, tile: tileAVX2},
	narrow:   tiling{mr: 3, nr: 4, lanes: 8, tile: narrowAVX2},
	packRows: 8, dotK: 16,
	packF32: packF32AVX2, packF16: packF16AVX2, packBF16: packBF16AVX2,
	dotF32: dotF32AVX2, dotF16: dotF16AVX2, dotBF16: dotBF16AVX2,
	gather:   gatherAVX2,
	widenF16: widenF16AVX2, widenBF16: widenBF16AVX2, narrowF16: narrowF16AVX2, narrowBF16: narrowBF16AVX2,
	combine: combineAVX2,
	scale:   scaleAVX2,
	fmaPeak: fmaPeakAVX2, fmaFLOPs: 12 * 8 * 2,
}

// The functions below are described at the fields of gemmKernels.

//go:noescape
func tileAVX512(a *tileArgs)

//go:noescape
func narrowAVX512(a *tileArgs)

//go:noescape
func packF32AVX512(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

//go:noescape
func packF16AVX512(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

//go:noescape
func packBF16AVX512(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

//go:noescape
func dotF32AVX512(dst, a *float32, w unsafe.Pointer, ld, k int)

//go:noescape
func dotF16AVX512(dst, a *float32, w unsafe.Pointer, ld, k int)

//go:noescape
func dotBF16AVX512(dst, a *float32, w unsafe.Pointer, ld, k int)

//go:noescape
func gatherAVX512(dst, src *float32, ld, k int)

//go:noescape
func combineAVX512(dst, c, bias, residual *float32, n int)

//go:noescape
func scaleAVX512(dst, src *float32, f float32, n int)

//go:noescape
func fmaPeakAVX512(iterations int)

//go:noescape
func tileAVX2(a *tileArgs)

//go:noescape
func narrowAVX2(a *tileArgs)

//go:noescape
func packF32AVX2(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

//go:noescape
func packF16AVX2(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

//go:noescape
func packBF16AVX2(dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int)

//go:noescape
func dotF32AVX2(dst, a *float32, w unsafe.Pointer, ld, k int)

//go:noescape
func dotF16AVX2(dst, a *float32, w unsafe.Pointer, ld, k int)

//go:noescape
func dotBF16AVX2(dst, a *float32, w unsafe.Pointer, ld, k int)

//go:noescape
func gatherAVX2(dst, src *float32, ld, k int)

//go:noescape
func combineAVX2(dst, c, bias, residual *float32, n int)

//go:noescape
func scaleAVX2(dst, src *float32, f float32, n int)

//go:noescape
func fmaPeakAVX2(iterations int)

//go:noescape
func widenF16AVX512(dst *float32, src *uint16, n int)

//go:noescape
func narrowF16AVX512(dst *uint16, src *float32, n int)

//go:noescape
func widenBF16AVX512(dst *float32, src *uint16, n int)

//go:noescape
func narrowBF16AVX512(dst *uint16, src *float32, n int)

//go:noescape
func widenF16AVX2(dst *float32, src *uint16, n int)

//go:noescape
func narrowF16AVX2(dst *uint16, src *float32, n int)

//go:noescape
func widenBF16AVX2(dst *float32, src *uint16, n int)

//go:noescape
func narrowBF16AVX2(dst *uint16, src *float32, n int)
