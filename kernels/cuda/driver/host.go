package driver

import (
	"errors"
	"fmt"
	"unsafe"
)

// HostMemory is page-locked memory of the host, which the device reads and writes by itself: asynchronous copies need it, and
// they run at the full speed of the bus.
type HostMemory struct {
	context *Context
	bytes   []byte
}

const hostAllocWriteCombined = 4 // a flag of cuMemHostAlloc

// AllocHost returns n > 0 bytes of page-locked memory. Write-combined memory crosses the bus faster and is very slow to read from
// the host: for uploads only.
func (c *Context) AllocHost(n int64, writeCombined bool) (*HostMemory, error) {
	if n <= 0 {
		return nil, fmt.Errorf("cuda: size of a host allocation is %d, want at least 1 byte", n)
	}
	var flags uintptr
	if writeCombined {
		flags = hostAllocWriteCombined
	}
	var p unsafe.Pointer // libcuda's memory, not Go's
	if err := c.call(cuMemHostAlloc, uintptr(unsafe.Pointer(&p)), uintptr(n), flags); err != nil {
		if errors.Is(err, OutOfMemory) {
			err = &OutOfMemoryError{Call: cuMemHostAlloc.String(), Host: true, Need: n, Free: -1, Total: -1}
		}
		return nil, err
	}
	return &HostMemory{context: c, bytes: unsafe.Slice((*byte)(p), n)}, nil
}

// Bytes is the memory. It must not be used after Close, nor after the context's Close; copies under way must have ended before
// it is read or changed.
func (h *HostMemory) Bytes() []byte { return h.bytes }

// Close frees the memory. Not for concurrent use; closing twice is harmless.
func (h *HostMemory) Close() error {
	if h.bytes == nil {
		return nil
	}
	p := unsafe.Pointer(&h.bytes[0])
	h.bytes = nil
	return h.context.release(cuMemFreeHost, uintptr(p))
}

// span checks that [offset, offset+n) lies in the memory, n > 0, and returns its address.
func (h *HostMemory) span(offset, n int64) (unsafe.Pointer, error) {
	if size := int64(len(h.bytes)); offset < 0 || n < 1 || n > size || offset > size-n {
		return nil, fmt.Errorf("cuda: bytes %d to %d of host memory, want some within its %d", offset, offset+n, size)
	}
	return unsafe.Pointer(&h.bytes[offset]), nil
}
