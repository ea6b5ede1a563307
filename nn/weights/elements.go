package weights

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// elementType is a dtype of the safetensors format.
type elementType struct {
	name  string
	bits  uint64        // of one element; those of F4 and F6 share bytes
	reads kernels.DType // what a model gets, 0 if no model takes the type
}

// elementTypes are the types of the reference implementation, in its order, which is the order of tensors in a written
// file.
var elementTypes = []elementType{
	{"BOOL", 8, 0}, {"F4", 4, 0}, {"F6_E2M3", 6, 0}, {"F6_E3M2", 6, 0}, {"U8", 8, 0}, {"I8", 8, 0},
	{"F8_E5M2", 8, 0}, {"F8_E4M3", 8, 0}, {"F8_E8M0", 8, 0}, {"F8_E4M3FNUZ", 8, 0}, {"F8_E5M2FNUZ", 8, 0},
	{"I16", 16, 0}, {"U16", 16, 0}, {"F16", 16, kernels.F16}, {"BF16", 16, kernels.BF16},
	{"I32", 32, 0}, {"U32", 32, 0}, {"F32", 32, kernels.F32}, {"C64", 64, 0},
	{float64Type, 64, kernels.F32}, {"I64", 64, 0}, {"U64", 64, 0},
}

// float64Type is read as F32: every other type that models take is stored as it is read.
const float64Type = "F64"

// usableTypes are those that models take, for errors.
const usableTypes = "F32, F16, BF16, F64"

// elementTypeNamed finds a type by the name that files give it.
func elementTypeNamed(name string) (elementType, bool) {
	i := slices.IndexFunc(elementTypes, func(t elementType) bool { return t.name == name })
	if i < 0 {
		return elementType{}, false
	}
	return elementTypes[i], true
}

// storedAs is the index in elementTypes of the type that a tensor is written as, -1 if there is none.
func storedAs(d kernels.DType) int {
	return slices.IndexFunc(elementTypes, func(t elementType) bool { return t.reads == d && d != 0 && t.name != float64Type })
}

// narrow rounds little-endian float64 to float32, to nearest even, as a cast of the reference does.
func narrow(data []byte) []byte {
	out := make([]byte, len(data)/2)
	for i := range len(data) / 8 {
		x := math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(float32(x)))
	}
	return out
}
