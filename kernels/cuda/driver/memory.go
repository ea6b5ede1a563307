package driver

import (
	"errors"
	"fmt"
	"unsafe"
)

// Ptr is an address in device memory; 0 is no address.
type Ptr uint64

// MemInfo returns the device's free and total memory in bytes, other processes counted.
func (c *Context) MemInfo() (free, total int64, err error) {
	var size [2]uint64
	if err := c.call(cuMemGetInfo, uintptr(unsafe.Pointer(&size[0])), uintptr(unsafe.Pointer(&size[1]))); err != nil {
		return 0, 0, err
	}
	return int64(size[0]), int64(size[1]), nil
}

// Alloc returns n > 0 bytes of device memory, aligned to 256 at least, with any content. The error of a full device is an
// *OutOfMemoryError.
func (c *Context) Alloc(n int64) (Ptr, error) {
	if n <= 0 {
		return 0, fmt.Errorf("cuda: size of an allocation is %d, want at least 1 byte", n)
	}
	var p Ptr
	if err := c.call(cuMemAlloc, uintptr(unsafe.Pointer(&p)), uintptr(n)); err != nil {
		return 0, c.outOfMemory(err, cuMemAlloc, n)
	}
	return p, nil
}

// outOfMemory makes an *OutOfMemoryError of an error that says so, and returns any other as it is.
func (c *Context) outOfMemory(err error, s symbol, need int64) error {
	if !errors.Is(err, OutOfMemory) {
		return err
	}
	free, total, infoErr := c.MemInfo()
	if infoErr != nil {
		free, total = -1, -1
	}
	return &OutOfMemoryError{Call: s.String(), Need: need, Free: free, Total: total}
}

// Free frees what Alloc returned; it waits for the device. Freeing 0 is harmless.
func (c *Context) Free(p Ptr) error { return c.release(cuMemFree, uintptr(p)) }

func checkCount(n int64) error {
	if n < 0 {
		return fmt.Errorf("cuda: count of a copy or fill is %d, want 0 or more", n)
	}
	return nil
}
