package cpu

import (
	"math"
	"sync/atomic"
	"unsafe"

	"github.com/goxl/goxl/kernels"
)

// gemmPortable is the version without assembly. Its tile of 3×4 is computed in two halves of 3×2: with six sums, two
// weights and three elements of A the fifteen registers that Go has for float32 on amd64 suffice, and no sum is
// spilled; 2×4 at once is half as fast.
var gemmPortable = &gemmKernels{
	tiling:   tiling{mr: 3, nr: 4, lanes: 1, tile: tilePortable},
	packRows: 4, dotK: 1,
	packF32: packPortable[float32], packF16: packPortable[f16], packBF16: packPortable[bf16],
	dotF32: dotPortable[float32], dotF16: dotPortable[f16], dotBF16: dotPortable[bf16],
	gather:   gatherPortable,
	widenF16: widenPortable[f16], widenBF16: widenPortable[bf16],
	narrowF16: narrowPortable(kernels.ToF16), narrowBF16: narrowPortable(kernels.ToBF16),
	combine: combinePortable,
	scale:   scalePortable,
	fmaPeak: fmaPeakPortable, fmaFLOPs: 24,
}

type (
	f16  uint16
	bf16 uint16
)

func widen[T float32 | f16 | bf16](x T) float32 {
	switch x := any(x).(type) {
	case f16:
		return kernels.FromF16(uint16(x))
	case bf16:
		return kernels.FromBF16(uint16(x))
	case float32:
		return x
	}
	return 0
}

func tilePortable(a *tileArgs) {
	rows := unsafe.Slice(a.rows, 3*a.taps)
	panel := unsafe.Slice((*[4]float32)(unsafe.Pointer(a.b)), a.k*a.taps)
	for half := 0; half < 4; half += 2 {
		var s00, s01, s10, s11, s20, s21 float32
		for t := range a.taps {
			b := panel[t*a.k:][:a.k]
			a0, a1, a2 := unsafe.Slice(rows[3*t], a.k)[:len(b)], unsafe.Slice(rows[3*t+1], a.k)[:len(b)], unsafe.Slice(rows[3*t+2], a.k)[:len(b)]
			for i := range b {
				w := (*[2]float32)(b[i][half : half+2])
				x0, x1, x2 := a0[i], a1[i], a2[i]
				s00 += x0 * w[0]
				s01 += x0 * w[1]
				s10 += x1 * w[0]
				s11 += x1 * w[1]
				s20 += x2 * w[0]
				s21 += x2 * w[1]
			}
		}
		for r, s := range [3][2]float32{{s00, s01}, {s10, s11}, {s20, s21}} {
			c := (*[2]float32)(unsafe.Add(unsafe.Pointer(a.c), 4*(r*a.ldc+half)))
			if a.accumulate != 0 { // adding block sums, not continuing them, rounds less
				s[0] += c[0]
				s[1] += c[1]
			}
			if a.out != nil {
				c = a.finished(&s, r, half)
			}
			*c = s
		}
	}
}

// finished finishes two sums of row r and returns where they go.
func (a *tileArgs) finished(s *[2]float32, r, half int) *[2]float32 {
	at := func(p *float32, row int) *[2]float32 {
		return (*[2]float32)(unsafe.Add(unsafe.Pointer(p), 4*(row*a.ldo+half)))
	}
	for i := range s {
		if a.bias != nil {
			s[i] += at(a.bias, 0)[i]
		}
		if a.residual != nil {
			s[i] += at(a.residual, r)[i]
		}
		if a.relu != 0 && s[i] < 0 {
			s[i] = 0
		}
	}
	return at(a.out, r)
}

func packPortable[T float32 | f16 | bf16](dst *float32, src unsafe.Pointer, ld int, offsets *int32, k int) {
	for r := range 4 {
		row := unsafe.Slice((*T)(unsafe.Add(src, r*ld)), k)
		for j, o := range unsafe.Slice(offsets, k) {
			*(*float32)(unsafe.Add(unsafe.Pointer(dst), 4*(int(o)+r))) = widen(row[j])
		}
	}
}

func dotPortable[T float32 | f16 | bf16](dst, a *float32, w unsafe.Pointer, ld, k int) {
	x := unsafe.Slice(a, k)
	for r := range 4 {
		var s0, s1, s2, s3 float32
		row := unsafe.Slice((*T)(unsafe.Add(w, r*ld)), k)
		i := 0
		for ; i+4 <= k; i += 4 {
			x, row := (*[4]float32)(x[i:]), (*[4]T)(row[i:])
			s0 += x[0] * widen(row[0])
			s1 += x[1] * widen(row[1])
			s2 += x[2] * widen(row[2])
			s3 += x[3] * widen(row[3])
		}
		for ; i < k; i++ {
			s0 += x[i] * widen(row[i])
		}
		*(*float32)(unsafe.Add(unsafe.Pointer(dst), 4*r)) += (s0 + s1) + (s2 + s3)
	}
}

func gatherPortable(dst, src *float32, ld, k int) {
	panel := unsafe.Slice((*[4]float32)(unsafe.Pointer(dst)), k)
	for r := range panel {
		panel[r] = *(*[4]float32)(unsafe.Add(unsafe.Pointer(src), r*ld))
	}
}

func widenPortable[T f16 | bf16](dst *float32, src *uint16, n int) {
	x := unsafe.Slice(src, n)
	for i := range unsafe.Slice(dst, n) {
		*(*float32)(unsafe.Add(unsafe.Pointer(dst), 4*i)) = widen(T(x[i]))
	}
}

func narrowPortable(round func(float32) uint16) func(dst *uint16, src *float32, n int) {
	return func(dst *uint16, src *float32, n int) {
		x := unsafe.Slice(src, n)
		for i := range unsafe.Slice(dst, n) {
			*(*uint16)(unsafe.Add(unsafe.Pointer(dst), 2*i)) = round(x[i])
		}
	}
}

func combinePortable(dst, c, bias, residual *float32, n int) {
	d, x := unsafe.Slice(dst, n), unsafe.Slice(c, n)
	b, r := unsafe.Slice(bias, n*present(bias)), unsafe.Slice(residual, n*present(residual))
	switch {
	case bias != nil && residual != nil:
		for i := range d {
			d[i] = x[i] + b[i] + r[i]
		}
	case bias != nil:
		for i := range d {
			d[i] = x[i] + b[i]
		}
	case residual != nil:
		for i := range d {
			d[i] = x[i] + r[i]
		}
	default:
		copy(d, x)
	}
}

func present(p *float32) int {
	if p == nil {
		return 0
	}
	return 1
}

func scalePortable(dst, src *float32, f float32, n int) {
	d, x := unsafe.Slice(dst, n), unsafe.Slice(src, n)
	for i := range d {
		d[i] = f * x[i]
	}
}

// peakSink keeps the compiler from removing the sums of fmaPeakPortable; the factors are not constants for the same
// reason.
var (
	peakSink    atomic.Uint32
	peakFactors = [2]float32{0.5, 1}
)

func fmaPeakPortable(iterations int) {
	var s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11 float32
	x, y := peakFactors[0], peakFactors[1]
	for range iterations {
		s0 = s0*x + y
		s1 = s1*x + y
		s2 = s2*x + y
		s3 = s3*x + y
		s4 = s4*x + y
		s5 = s5*x + y
		s6 = s6*x + y
		s7 = s7*x + y
		s8 = s8*x + y
		s9 = s9*x + y
		s10 = s10*x + y
		s11 = s11*x + y
	}
	peakSink.Store(math.Float32bits(s0 + s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9 + s10 + s11))
}
