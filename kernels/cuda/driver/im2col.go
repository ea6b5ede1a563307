package driver

import (
	"fmt"
	"unsafe"
)

// Im2col describes images of two-byte elements, NHWC, and the pixels that one TMA load in im2col mode moves: Pixels of them from
// a first one on, row by row and image by image, Channels of each. The load takes the coordinates of the first pixel, and an
// offset that is added to the coordinates of every pixel: a filter tap of a convolution. Pixels outside of an image are read as
// zero.
type Im2col struct {
	Type    ElementType
	Address Ptr      // multiple of 16
	Size    [4]int64 // channels, width, height, images
	Stride  [3]int64 // bytes from pixel to pixel, row to row, image to image; multiples of 16
	// Low and High (pixelBoxLowerCorner and pixelBoxUpperCorner) bound the coordinates x and y before the offset is added: from
	// Low to the image's last pixel plus High, −128 to 127.
	Low, High [2]int32
	Step      uint32 // elementStrides in x and y, the stride of the convolution, 1 to 8
	Channels  uint32 // channelsPerPixel, 64 at most
	Pixels    uint32 // pixelsPerColumn, 1 to 256
}

// EncodeIm2col makes a tensor map with a swizzle of 128 bytes. It needs CUDA 12.0; the kernel that uses it, capability 9.0.
func (c *Context) EncodeIm2col(t Im2col) (TensorMap, error) {
	if err := c.driver.need(cuTensorMapEncodeIm2col); err != nil {
		return TensorMap{}, err
	}
	if err := t.check(); err != nil {
		return TensorMap{}, fmt.Errorf("cuda: tensor map of images: %w", err)
	}
	e := new(struct {
		encoding
		low, high [2]int32
	})
	e.low, e.high = t.Low, t.High
	for i, n := range t.Size {
		e.size[i], e.step[i] = uint64(n), 1
	}
	e.step[1], e.step[2] = t.Step, t.Step
	for i, n := range t.Stride {
		e.stride[i] = uint64(n)
	}
	const align = 128
	skip := -uintptr(unsafe.Pointer(&e.space)) % align
	out := unsafe.Add(unsafe.Pointer(&e.space), skip)
	err := c.call(cuTensorMapEncodeIm2col, uintptr(out), uintptr(t.Type), 4, uintptr(t.Address), uintptr(unsafe.Pointer(&e.size)),
		uintptr(unsafe.Pointer(&e.stride)), uintptr(unsafe.Pointer(&e.low)), uintptr(unsafe.Pointer(&e.high)), uintptr(t.Channels), uintptr(t.Pixels),
		uintptr(unsafe.Pointer(&e.step)), 0, uintptr(Swizzle128), uintptr(Promotion256), 0)
	if err != nil {
		return TensorMap{}, fmt.Errorf("tensor map %+v: %w", t, err)
	}
	return *(*TensorMap)(out), nil
}

func (t *Im2col) check() error {
	switch {
	case t.Type.size() != 2:
		return fmt.Errorf("element type is %d, want Float16 or BFloat16", t.Type)
	case t.Address == 0 || t.Address%16 != 0:
		return fmt.Errorf("address is %#x, want a multiple of 16", uint64(t.Address))
	case t.Step < 1 || t.Step > 8:
		return fmt.Errorf("step is %d, want 1 to 8", t.Step)
	case t.Channels < 8 || t.Channels > 64 || t.Channels%8 != 0:
		return fmt.Errorf("channels are %d, want a multiple of 8 up to 64", t.Channels)
	case t.Pixels < 1 || t.Pixels > 256:
		return fmt.Errorf("pixels are %d, want 1 to 256", t.Pixels)
	}
	for i, n := range t.Size {
		if n < 1 || n > 1<<32 {
			return fmt.Errorf("size %d is %d, want 1 to 2^32", i, n)
		}
	}
	for i, n := range t.Stride {
		if n <= 0 || n%16 != 0 || n >= 1<<40 {
			return fmt.Errorf("stride %d is %d bytes, want a positive multiple of 16 below 2^40", i, n)
		}
	}
	for i := range 2 {
		if t.Low[i] < -128 || t.Low[i] > 127 || t.High[i] < -128 || t.High[i] > 127 {
			return fmt.Errorf("bounds are %v and %v, want -128 to 127", t.Low, t.High)
		}
	}
	return nil
}
