package lora

import (
	"encoding/binary"
	"errors"
	"math"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/nn/weights"
)

// halves are all float16 numbers in float32: looking one up is faster than computing it.
var halves = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for i := range t {
		t[i] = kernels.FromF16(uint16(i))
	}
	return t
})

// widenTo converts little-endian numbers of F32, F16 or BF16; src holds len(dst) of them.
func widenTo(dst []float32, dtype kernels.DType, src []byte) {
	switch dtype {
	case kernels.F16:
		table := halves()
		src = src[:2*len(dst)]
		for i := range dst {
			dst[i] = table[binary.LittleEndian.Uint16(src[2*i:2*i+2])]
		}
	case kernels.BF16:
		src = src[:2*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:2*i+2])) << 16)
		}
	default:
		src = src[:4*len(dst)]
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i : 4*i+4]))
		}
	}
}

// roundTo rounds to the nearest number of F32, F16 or BF16, ties to even; dst has room for len(src) of them.
func roundTo(dst []byte, dtype kernels.DType, src []float32) {
	switch dtype {
	case kernels.F16:
		dst = dst[:2*len(src)]
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:2*i+2], toF16(x))
		}
	case kernels.BF16:
		dst = dst[:2*len(src)]
		for i, x := range src {
			binary.LittleEndian.PutUint16(dst[2*i:2*i+2], kernels.ToBF16(x))
		}
	default:
		dst = dst[:4*len(src)]
		for i, x := range src {
			binary.LittleEndian.PutUint32(dst[4*i:4*i+4], math.Float32bits(x))
		}
	}
}

// toF16 is [kernels.ToF16] with a short way for the numbers that weights are.
func toF16(x float32) uint16 {
	b := math.Float32bits(x)
	if m := b&0x7fffffff - 0x38800000; m < 0x477ff000-0x38800000 { // normal in float16, and not rounded to infinity
		return uint16(b>>16&0x8000) | uint16((m+0x00800000+0xfff+(b>>13&1))>>13)
	}
	return kernels.ToF16(x)
}

// Matrix is a factor as its file has it, a matrix in row order.
type Matrix struct {
	Rows, Cols int
	DType      kernels.DType // F32, F16 or BF16
	Data       []byte        // little-endian
}

// Floats returns the matrix in float32.
func (m Matrix) Floats() []float32 { return m.widen(plain{}) }

func (m Matrix) widen(a kernels.Arithmetic) []float32 {
	out := make([]float32, m.Rows*m.Cols)
	a.Widen(out, m.DType, m.Data)
	return out
}

// matrixOf holds numbers that were computed.
func matrixOf(x []float32, rows int) Matrix {
	data := make([]byte, 4*len(x))
	roundTo(data, kernels.F32, x)
	return Matrix{Rows: rows, Cols: len(x) / max(rows, 1), DType: kernels.F32, Data: data}
}

// isUnused reports whether err says that no model takes a tensor of its type.
func isUnused(err error) bool {
	var unused *weights.DTypeError
	return errors.As(err, &unused)
}
