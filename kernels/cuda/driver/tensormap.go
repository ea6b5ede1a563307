package driver

import (
	"fmt"
	"unsafe"
)

// TensorMap is a CUtensorMap: it describes a tensor in device memory to TMA, the tensor memory accelerator of compute capability
// 9.0. It is passed to a kernel by value, as a __grid_constant__ parameter.
type TensorMap [16]uint64

// ElementType is CUtensorMapDataType.
type ElementType uint32

// The element types of tensor maps that kernels use.
const (
	Uint8    ElementType = 0
	Float16  ElementType = 6
	Float32  ElementType = 7
	BFloat16 ElementType = 9
)

// size in bytes, 0 for a type that is none of the above.
func (t ElementType) size() int64 {
	return map[ElementType]int64{Uint8: 1, Float16: 2, Float32: 4, BFloat16: 2}[t]
}

// Swizzle is how a box's rows are interleaved in shared memory against bank conflicts; the number is CUtensorMapSwizzle.
type Swizzle uint32

// The swizzles, by the bytes of the span in which 16-byte pieces change places; the box's inner size must not be above it.
const (
	SwizzleNone Swizzle = 0
	Swizzle32   Swizzle = 1
	Swizzle64   Swizzle = 2
	Swizzle128  Swizzle = 3
)

// Promotion is the width of the requests to the L2 cache; the number is CUtensorMapL2promotion.
type Promotion uint32

// The promotions, in bytes.
const (
	PromotionNone Promotion = 0
	Promotion64   Promotion = 1
	Promotion128  Promotion = 2
	Promotion256  Promotion = 3
)

// Tiled describes a tensor and the box that one TMA load or store moves. It has 1 to 5 dimensions, the innermost first. Elements
// outside the tensor are read as zero and not written.
type Tiled struct {
	Type      ElementType
	Address   Ptr      // multiple of 16
	Size      []int64  // elements, 1 to 2^32
	Stride    []int64  // bytes from one to the next along dimensions 1, 2, …: len(Size)−1 numbers, multiples of 16 below 2^40
	Box       []uint32 // elements, 1 to 256; the innermost in bytes is a multiple of 16
	Step      []uint32 // elementStrides: every Step-th element is taken, 1 to 8; nil is 1 throughout
	Swizzle   Swizzle
	Promotion Promotion
}

// encoding holds the arguments of cuTensorMapEncodeTiled in one object, so that one pointer keeps all of them alive.
type encoding struct {
	space  [2]TensorMap // room for one at a multiple of 128, which the call requires
	size   [5]uint64
	stride [5]uint64
	box    [5]uint32
	step   [5]uint32
}

// EncodeTiled makes a tensor map. It needs CUDA 12.0; the kernel that uses it, capability 9.0.
func (c *Context) EncodeTiled(t Tiled) (TensorMap, error) {
	if err := c.driver.need(cuTensorMapEncodeTiled); err != nil {
		return TensorMap{}, err
	}
	if err := t.check(); err != nil {
		return TensorMap{}, fmt.Errorf("cuda: tensor map: %w", err)
	}
	e := new(encoding)
	for i, n := range t.Size {
		e.size[i], e.box[i], e.step[i] = uint64(n), t.Box[i], 1
		if t.Step != nil {
			e.step[i] = t.Step[i]
		}
		if i > 0 {
			e.stride[i-1] = uint64(t.Stride[i-1])
		}
	}
	const align = 128
	skip := -uintptr(unsafe.Pointer(&e.space)) % align
	out := unsafe.Add(unsafe.Pointer(&e.space), skip)
	err := c.call(cuTensorMapEncodeTiled, uintptr(out), uintptr(t.Type), uintptr(len(t.Size)), uintptr(t.Address),
		uintptr(unsafe.Pointer(&e.size)), uintptr(unsafe.Pointer(&e.stride)), uintptr(unsafe.Pointer(&e.box)),
		uintptr(unsafe.Pointer(&e.step)), 0, uintptr(t.Swizzle), uintptr(t.Promotion), 0)
	if err != nil {
		return TensorMap{}, fmt.Errorf("tensor map %+v: %w", t, err)
	}
	return *(*TensorMap)(out), nil
}

// check applies the rules in cuda.h, since the driver's answer to all of them is CUDA_ERROR_INVALID_VALUE.
func (t *Tiled) check() error {
	rank, size := len(t.Size), t.Type.size()
	switch {
	case size == 0:
		return fmt.Errorf("element type is %d, want Uint8, Float16, Float32 or BFloat16", t.Type)
	case rank < 1 || rank > 5:
		return fmt.Errorf("%d dimensions, want 1 to 5", rank)
	case len(t.Stride) != rank-1 || len(t.Box) != rank || t.Step != nil && len(t.Step) != rank:
		return fmt.Errorf("%d strides, %d box sizes and %d steps, want %d, %d and 0 or %d",
			len(t.Stride), len(t.Box), len(t.Step), rank-1, rank, rank)
	case t.Address == 0 || t.Address%16 != 0:
		return fmt.Errorf("address is %#x, want a multiple of 16", uint64(t.Address))
	case t.Swizzle > Swizzle128 || t.Promotion > Promotion256:
		return fmt.Errorf("swizzle and promotion are %d and %d, want 0 to 3", t.Swizzle, t.Promotion)
	}
	for i := range rank {
		switch {
		case t.Size[i] < 1 || t.Size[i] > 1<<32:
			return fmt.Errorf("size %d is %d, want 1 to 2^32", i, t.Size[i])
		case t.Box[i] < 1 || t.Box[i] > 256:
			return fmt.Errorf("box size %d is %d, want 1 to 256", i, t.Box[i])
		case t.Step != nil && (t.Step[i] < 1 || t.Step[i] > 8):
			return fmt.Errorf("step %d is %d, want 1 to 8", i, t.Step[i])
		case i > 0 && (t.Stride[i-1] <= 0 || t.Stride[i-1]%16 != 0 || t.Stride[i-1] >= 1<<40):
			return fmt.Errorf("stride of dimension %d is %d bytes, want a positive multiple of 16 below 2^40", i, t.Stride[i-1])
		}
	}
	inner := int64(t.Box[0]) * size
	if inner%16 != 0 {
		return fmt.Errorf("inner box is %d bytes, want a multiple of 16", inner)
	}
	if span := int64(16) << t.Swizzle; t.Swizzle != SwizzleNone && inner > span {
		return fmt.Errorf("inner box is %d bytes, a swizzle of %d takes no more than that", inner, span)
	}
	return nil
}
