package driver

import (
	"fmt"
	"unsafe"
)

// Function is a kernel.
type Function struct {
	context *Context
	handle  uintptr
	name    string
}

// CUfunction_attribute of cuda.h.
const (
	functionMaxThreads       = 0
	functionStaticShared     = 1
	functionLocal            = 3
	functionRegisters        = 4
	functionMaxDynamicShared = 8
	functionCarveout         = 9
)

// FunctionInfo is what the compiler made of a kernel. Sizes in bytes.
type FunctionInfo struct {
	MaxThreads       int // per block
	Registers        int // per thread
	StaticShared     int // per block
	MaxDynamicShared int // per block, as SetMaxDynamicShared left it
	Local            int // per thread; more than 0 may mean spilled registers
}

// Info reads the attributes of the kernel.
func (f *Function) Info() (FunctionInfo, error) {
	var i FunctionInfo
	for _, a := range []struct {
		attribute uintptr
		to        *int
	}{
		{functionMaxThreads, &i.MaxThreads},
		{functionRegisters, &i.Registers},
		{functionStaticShared, &i.StaticShared},
		{functionMaxDynamicShared, &i.MaxDynamicShared},
		{functionLocal, &i.Local},
	} {
		var n int32
		if err := f.context.call(cuFuncGetAttribute, uintptr(unsafe.Pointer(&n)), a.attribute, f.handle); err != nil {
			return i, fmt.Errorf("kernel %s: %w", f.name, err)
		}
		*a.to = int(n)
	}
	return i, nil
}

// SetMaxDynamicShared lets launches use up to n bytes of dynamic shared memory a block, at most Device.SharedPerBlock less the
// static part. Without it the limit is 48 KB in all.
func (f *Function) SetMaxDynamicShared(n int) error {
	if n < 0 || n > f.context.device.SharedPerBlock {
		return fmt.Errorf("cuda: kernel %s: dynamic shared memory is %d bytes, %s has 0 to %d",
			f.name, n, f.context.device.Name, f.context.device.SharedPerBlock)
	}
	if err := f.context.call(cuFuncSetAttribute, f.handle, functionMaxDynamicShared, uintptr(n)); err != nil {
		return fmt.Errorf("kernel %s: dynamic shared memory %d bytes: %w", f.name, n, err)
	}
	return nil
}

// PreferShared sets the preferred shared memory carveout to its maximum: of the memory that shared memory and L1 cache divide, as
// much as possible is shared memory. Kernels of different carveouts do not run on one multiprocessor at the same time.
func (f *Function) PreferShared() error {
	if err := f.context.call(cuFuncSetAttribute, f.handle, functionCarveout, 100); err != nil {
		return fmt.Errorf("kernel %s: preferring shared memory: %w", f.name, err)
	}
	return nil
}
