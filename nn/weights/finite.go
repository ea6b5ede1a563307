package weights

import (
	"encoding/binary"

	"github.com/goxl/goxl/kernels"
)

// Finite reports whether little-endian numbers of F32, F16 or BF16 are all finite.
func Finite(dtype kernels.DType, data []byte) bool {
	if dtype == kernels.F32 {
		for ; len(data) >= 4; data = data[4:] {
			const exponent = 0x7f800000
			if binary.LittleEndian.Uint32(data)&exponent == exponent {
				return false
			}
		}
		return true
	}
	exponent := uint16(0x7f80) // BF16
	if dtype == kernels.F16 {
		exponent = 0x7c00
	}
	for ; len(data) >= 2; data = data[2:] {
		if binary.LittleEndian.Uint16(data)&exponent == exponent {
			return false
		}
	}
	return true
}
