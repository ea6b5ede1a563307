package driver

import (
	"errors"
	"fmt"
	"strings"
)

// ErrClosed is returned by calls of a context, or of what it made, after Close.
var ErrClosed = errors.New("cuda: the context is closed")

// Error is a result other than success.
type Error struct {
	Call   string // the function, under the name it has in libcuda
	Code   Result
	Detail string // what was asked for, or the compiler's log; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cuda: %s: %v (%d)", e.Call, e.Code, uint32(e.Code))
	for _, s := range []string{e.Detail, e.Code.advice()} {
		if s != "" {
			b.WriteString(": " + s)
		}
	}
	return b.String()
}

// Is makes errors.Is(err, driver.InvalidValue) and the like work.
func (e *Error) Is(target error) bool {
	r, ok := target.(Result)
	return ok && r == e.Code
}

// Error makes a Result a target for errors.Is; calls return *Error.
func (r Result) Error() string { return r.String() }

// IsLost reports whether err means that the context it came from can do no more work: a kernel faulted (illegal address, trap,
// watchdog), the hardware failed (ECC, off the bus), or the context was taken away. The process may go on, but can use the device no
// more; another process can, unless the device itself is gone.
func IsLost(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code.lost()
}

// NotFoundError means that this machine has no NVIDIA driver, or that it is not where libraries are looked for.
type NotFoundError struct {
	Library string // the name looked for first
	Reason  string // what the dynamic linker said about that name
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("cuda: %s not found (%s): install the NVIDIA driver; in a container, start it with the GPU (docker run --gpus all)",
		e.Library, e.Reason)
}

// NotBuiltError means that this executable cannot use CUDA whatever the machine has.
type NotBuiltError struct{ Reason string }

func (e *NotBuiltError) Error() string {
	return "cuda: not in this executable: " + e.Reason
}

// VersionError means that the driver is too old.
type VersionError struct {
	Have, Need Version
	For        string // the function that needs it; empty when nothing works
}

func (e *VersionError) Error() string {
	what := ""
	if e.For != "" {
		what = e.For + ": "
	}
	return fmt.Sprintf("cuda: %sthe NVIDIA driver supports CUDA %v, at least %v is needed: update the driver", what, e.Have, e.Need)
}

// SymbolError means that libcuda lacks a function that its version should have.
type SymbolError struct {
	Name string
	Have Version
}

func (e *SymbolError) Error() string {
	return fmt.Sprintf("cuda: the library (CUDA %v) has no %s: reinstall the NVIDIA driver", e.Have, e.Name)
}

// NoDeviceError means that the driver is there and no device is.
type NoDeviceError struct{ Driver Version }

func (e *NoDeviceError) Error() string {
	return fmt.Sprintf("cuda: the NVIDIA driver (CUDA %v) sees no device: see nvidia-smi, and CUDA_VISIBLE_DEVICES if it is set", e.Driver)
}

// OutOfMemoryError is an allocation that failed. Sizes in bytes; Need is 0 when only the driver knows, Free and Total are -1 when
// it could not tell.
type OutOfMemoryError struct {
	Call        string
	Host        bool // it was of page-locked memory of the host
	Need        int64
	Free, Total int64 // of the device, at the time of the failure
}

func (e *OutOfMemoryError) Error() string {
	if e.Host {
		return fmt.Sprintf("cuda: %s: out of memory: %s of page-locked host memory needed: end other programs, or give the process or container more memory", e.Call, mib(e.Need))
	}
	var sizes string
	if e.Need > 0 {
		sizes += ": " + mib(e.Need) + " needed"
	}
	if e.Total >= 0 {
		sizes += fmt.Sprintf(": %s of %s free", mib(e.Free), mib(e.Total))
	}
	return fmt.Sprintf("cuda: %s: out of memory%s: end other programs on the device, or choose a smaller size or batch", e.Call, sizes)
}

// Is makes errors.Is(err, driver.OutOfMemory) work.
func (e *OutOfMemoryError) Is(target error) bool { return target == OutOfMemory }

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
