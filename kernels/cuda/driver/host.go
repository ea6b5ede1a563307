package driver

import (
	"errors"
	"fmt"
	"unsafe"
)

// HostMemory is page-locked memory of the host, which the device reads and writes by itself: asynchronous copies need it, and
// they run at the full speed of the bus.
type HostMemory struct {
	context    *Context
	bytes      []byte
	registered bool // belongs to the caller of RegisterHost
}

// Flags of cuMemHostAlloc and cuMemHostRegister.
const (
	hostAllocWriteCombined = 4
	hostRegisterReadOnly   = 8
)

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
		return nil, hostOutOfMemory(err, cuMemHostAlloc, n)
	}
	return &HostMemory{context: c, bytes: unsafe.Slice((*byte)(p), n)}, nil
}

// RegisterHost page-locks memory that exists already, such as a mapped file (readOnly if it was mapped so, which needs
// Device.ReadOnlyRegister). The memory must stay mapped until Close; not every mapping of a file can be locked.
func (c *Context) RegisterHost(b []byte, readOnly bool) (*HostMemory, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("cuda: memory to register has 0 bytes, want at least 1")
	}
	var flags uintptr
	if readOnly {
		if !c.device.ReadOnlyRegister {
			return nil, fmt.Errorf("cuda: device %d (%s) cannot register read-only memory", c.device.Ordinal, c.device.Name)
		}
		flags = hostRegisterReadOnly
	}
	if err := c.call(cuMemHostRegister, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), flags); err != nil {
		return nil, hostOutOfMemory(err, cuMemHostRegister, int64(len(b)))
	}
	return &HostMemory{context: c, bytes: b, registered: true}, nil
}

// hostOutOfMemory is outOfMemory for memory of the host.
func hostOutOfMemory(err error, s symbol, need int64) error {
	if !errors.Is(err, OutOfMemory) {
		return err
	}
	return &OutOfMemoryError{Call: s.String(), Host: true, Need: need, Free: -1, Total: -1}
}

// Bytes is the memory. It must not be used after Close, nor after the context's Close; copies under way must have ended before
// it is read or changed.
func (h *HostMemory) Bytes() []byte { return h.bytes }

// Close gives the memory back, or only unlocks what RegisterHost was given. Not for concurrent use; closing twice is harmless.
func (h *HostMemory) Close() error {
	if h.bytes == nil {
		return nil
	}
	s := cuMemFreeHost
	if h.registered {
		s = cuMemHostUnregister
	}
	p := unsafe.Pointer(&h.bytes[0])
	h.bytes = nil
	return h.context.release(s, uintptr(p))
}

// span checks that [offset, offset+n) lies in the memory, n > 0, and returns its address.
func (h *HostMemory) span(offset, n int64) (unsafe.Pointer, error) {
	if size := int64(len(h.bytes)); offset < 0 || n < 1 || n > size || offset > size-n {
		return nil, fmt.Errorf("cuda: bytes %d to %d of host memory, want some within its %d", offset, offset+n, size)
	}
	return unsafe.Pointer(&h.bytes[offset]), nil
}
