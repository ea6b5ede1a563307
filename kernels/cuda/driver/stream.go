package driver

import "unsafe"

// Stream is a queue of work, which runs in order; work of different streams is ordered by events alone. Work runs after the call
// that queues it has returned; later calls report its faults.
type Stream struct {
	context *Context
	handle  uintptr
}

const streamNonBlocking = 1 // not ordered with the legacy default stream, which this package never uses

// NewStream returns a stream. Priority 0 is the normal one, lower numbers go first; what the device does not have is clamped.
func (c *Context) NewStream(priority int) (*Stream, error) {
	s := &Stream{context: c}
	if err := c.call(cuStreamCreateWithPriority, uintptr(unsafe.Pointer(&s.handle)), streamNonBlocking, uintptr(priority)); err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the stream; work in it still finishes. Not for concurrent use; closing twice is harmless.
func (s *Stream) Close() error {
	h := s.handle
	s.handle = 0
	return s.context.release(cuStreamDestroy, h)
}

// Synchronize waits until the stream's work is done, without keeping other goroutines from running.
func (s *Stream) Synchronize() error { return s.context.call(cuStreamSynchronize, s.handle) }

// Wait makes later work of the stream wait for the work that e was recorded after. It may belong to another stream.
func (s *Stream) Wait(e *Event) error {
	return s.context.call(cuStreamWaitEvent, s.handle, e.handle, 0)
}

// Record records e after the work that the stream has now.
func (s *Stream) Record(e *Event) error { return s.context.call(cuEventRecord, e.handle, s.handle) }

// CopyToDevice copies n bytes at offset of host memory to the device.
func (s *Stream) CopyToDevice(dst Ptr, src *HostMemory, offset, n int64) error {
	if n == 0 {
		return nil
	}
	p, err := src.span(offset, n)
	if err != nil {
		return err
	}
	return s.context.call(cuMemcpyHtoDAsync, uintptr(dst), uintptr(p), uintptr(n), s.handle)
}

// CopyToHost copies n bytes of the device to host memory at offset.
func (s *Stream) CopyToHost(dst *HostMemory, offset int64, src Ptr, n int64) error {
	if n == 0 {
		return nil
	}
	p, err := dst.span(offset, n)
	if err != nil {
		return err
	}
	return s.context.call(cuMemcpyDtoHAsync, uintptr(p), uintptr(src), uintptr(n), s.handle)
}

// CopyDevice copies n bytes within the device. The ranges must not overlap.
func (s *Stream) CopyDevice(dst, src Ptr, n int64) error {
	if n == 0 {
		return nil
	}
	if err := checkCount(n); err != nil {
		return err
	}
	return s.context.call(cuMemcpyDtoDAsync, uintptr(dst), uintptr(src), uintptr(n), s.handle)
}

// Fill sets n bytes of the device to v.
func (s *Stream) Fill(dst Ptr, v byte, n int64) error {
	if n == 0 {
		return nil
	}
	if err := checkCount(n); err != nil {
		return err
	}
	return s.context.call(cuMemsetD8Async, uintptr(dst), uintptr(v), uintptr(n), s.handle)
}

// Fill32 sets n words of 4 bytes of the device to v; dst is a multiple of 4.
func (s *Stream) Fill32(dst Ptr, v uint32, n int64) error {
	if n == 0 {
		return nil
	}
	if err := checkCount(n); err != nil {
		return err
	}
	return s.context.call(cuMemsetD32Async, uintptr(dst), uintptr(v), uintptr(n), s.handle)
}
