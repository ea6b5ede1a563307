package driver

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Schedule is how a host thread waits for the device.
type Schedule uint32

// The schedules of cuda.h. Auto spins when there are fewer contexts than CPU cores. Block costs some 20 µs a wait and no
// CPU time.
const (
	Auto  Schedule = 0
	Spin  Schedule = 1
	Yield Schedule = 2
	Block Schedule = 4
)

// Context is this process's own context on a device: memory, modules, streams and everything else belong to it and end with it.
// It is not the device's primary context, which other libraries of the process would share.
type Context struct {
	device  *Device
	driver  *Driver
	current [1]uintptr // the handle, as the argument of cuCtxSetCurrent

	mu     sync.RWMutex // held for reading during every call, so that Close waits
	closed bool
	lost   atomic.Pointer[Error]
}

// NewContext creates a context; this takes a few tenths of a second and a few hundred MB of device memory. In a process in which a
// kernel faulted it fails with the fault's code.
func (v *Device) NewContext(s Schedule) (*Context, error) {
	c := &Context{device: v, driver: v.driver}
	// Creating makes the new context current; the thread is left as it was found.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := v.driver.call(cuCtxCreate, uintptr(unsafe.Pointer(&c.current)), uintptr(s), uintptr(v.handle)); err != nil {
		if err.Code == OutOfMemory {
			return nil, &OutOfMemoryError{Call: err.Call, Free: -1, Total: -1}
		}
		return nil, err
	}
	if err := v.driver.call(cuCtxSetCurrent, 0); err != nil {
		v.driver.call(cuCtxDestroy, c.current[0])
		return nil, err
	}
	return c, nil
}

// Lost returns the error that ended the context, or nil while it works. A fault is known once a call has reported it.
func (c *Context) Lost() error {
	if e := c.lost.Load(); e != nil {
		return e
	}
	return nil
}

// Synchronize waits for all work of the context.
func (c *Context) Synchronize() error { return c.call(cuCtxSynchronize) }

// Close waits for calls in flight and destroys the context with everything in it, pinned host memory included: slices from
// HostMemory.Bytes must not be used afterwards. It works after a fault too. Closing twice is harmless.
func (c *Context) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	// Destroying a lost context succeeds or repeats the fault; either way it is gone.
	if err := c.driver.call(cuCtxDestroy, c.current[0]); err != nil && !err.Code.lost() {
		return err
	}
	return nil
}

// call makes one call with the context current. Go pointers among the arguments follow the rule at Driver.call.
//
//go:uintptrescapes
func (c *Context) call(s symbol, args ...uintptr) error { return c.invoke(s, args) }

// invoke is call without an allocation, for arguments that lie in a reused array on the heap.
func (c *Context) invoke(s symbol, args []uintptr) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return ErrClosed
	}
	if e := c.lost.Load(); e != nil {
		return e
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := c.driver.library.Call(c.driver.functions[cuCtxSetCurrent], c.current[:])
	if r != Success {
		s = cuCtxSetCurrent
	} else if r = c.driver.library.Call(c.driver.functions[s], args); r == Success {
		return nil
	}
	e := &Error{Call: s.String(), Code: r}
	if r.lost() {
		c.lost.CompareAndSwap(nil, e)
	}
	return e
}

// release is call for functions that destroy something: what belongs to a lost or closed context is gone already.
func (c *Context) release(s symbol, handle uintptr) error {
	if handle == 0 || c.lost.Load() != nil {
		return nil
	}
	if err := c.call(s, handle); err != ErrClosed {
		return err
	}
	return nil
}
