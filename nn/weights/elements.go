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
	bits  uint64              // of one element; those of F4 and F6 share bytes
	reads kernels.DType       // what a model gets, 0 if no model takes the type
	cast  func([]byte) []byte // makes it of what is stored; nil if that is the same
}

// elementTypes are the types of the reference implementation, in its order, which is the order of tensors in a written
// file.
var elementTypes = []elementType{
	{"BOOL", 8, 0, nil}, {"F4", 4, 0, nil}, {"F6_E2M3", 6, 0, nil}, {"F6_E3M2", 6, 0, nil}, {"U8", 8, 0, nil}, {"I8", 8, 0, nil},
	{"F8_E5M2", 8, kernels.F16, fp16OfE5M2}, {"F8_E4M3", 8, kernels.F16, fp16OfE4M3},
	{"F8_E8M0", 8, 0, nil}, {"F8_E4M3FNUZ", 8, 0, nil}, {"F8_E5M2FNUZ", 8, 0, nil},
	{"I16", 16, 0, nil}, {"U16", 16, 0, nil}, {"F16", 16, kernels.F16, nil}, {"BF16", 16, kernels.BF16, nil},
	{"I32", 32, 0, nil}, {"U32", 32, 0, nil}, {"F32", 32, kernels.F32, nil}, {"C64", 64, 0, nil},
	{"F64", 64, kernels.F32, narrow}, {"I64", 64, 0, nil}, {"U64", 64, 0, nil},
}

// usableTypes are those that models take, for errors.
const usableTypes = "F32, F16, BF16, F64, F8_E4M3, F8_E5M2"

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
	return slices.IndexFunc(elementTypes, func(t elementType) bool { return t.reads == d && d != 0 && t.cast == nil })
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
