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
	exponent := uint64(0x7f80) // BF16
	if dtype == kernels.F16 {
		exponent = 0x7c00
	}
	// Four at a time: the last bit of the exponent, added to an exponent of ones alone, reaches the bit of the sign.
	const lanes = 0x0001_0001_0001_0001
	mask, one, found := exponent*lanes, (exponent&-exponent)*lanes, uint64(0)
	for ; len(data) >= 8; data = data[8:] {
		found |= binary.LittleEndian.Uint64(data)&mask + one
	}
	if found&(0x8000*lanes) != 0 {
		return false
	}
	for ; len(data) >= 2; data = data[2:] {
		if uint64(binary.LittleEndian.Uint16(data))&exponent == exponent {
			return false
		}
	}
	return true
}
