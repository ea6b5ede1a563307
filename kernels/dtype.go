package kernels

import (
	"fmt"
	"math"
)

// DType is the element type of a tensor.
type DType uint8

// The element types. Token ids and row indices are I32, pixels of images U8; weights are F32, F16 or BF16.
const (
	F32 DType = iota + 1
	F16
	BF16
	I32
	U8
)

var dtypes = map[DType]struct {
	name string
	size int
}{F32: {"fp32", 4}, F16: {"fp16", 2}, BF16: {"bf16", 2}, I32: {"int32", 4}, U8: {"uint8", 1}}

// Size returns the bytes of one element.
func (d DType) Size() int { return dtypes[d].size }

func (d DType) String() string {
	if t, ok := dtypes[d]; ok {
		return t.name
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// ParsePrecision reads "fp32", "fp16" or "bf16".
func ParsePrecision(s string) (DType, error) {
	for _, d := range []DType{F32, F16, BF16} {
		if dtypes[d].name == s {
			return d, nil
		}
	}
	return 0, fmt.Errorf("precision %q: must be fp32, fp16 or bf16", s)
}

// FromF16 widens an IEEE 754 half.
func FromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp, frac := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac·2^-24 is exact
		return math.Float32frombits(math.Float32bits(float32(frac)*0x1p-24) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// ToF16 rounds to the nearest IEEE 754 half, ties to even; magnitudes from 65520 on become infinite, NaN stays NaN.
func ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00
	case b >= 0x477ff000:
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: a subnormal is a multiple of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(b))*0x1p24))
	}
	b += 0xfff + b>>13&1
	return sign | uint16((b-0x38000000)>>13)
}

// FromBF16 widens a bfloat16.
func FromBF16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// ToBF16 rounds to the nearest bfloat16, ties to even; NaN stays NaN.
func ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}
