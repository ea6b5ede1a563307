package driver

import (
	"fmt"
	"unsafe"
)

// Version is a CUDA version as the driver counts it: 1000·major + 10·minor.
type Version int32

func (v Version) String() string { return fmt.Sprintf("%d.%d", v/1000, v%1000/10) }

// MinVersion is the oldest driver that Open takes: CUDA 11.0 (R450), the first that knows PTX 7.0 and compute capability 8.0.
const MinVersion Version = 11000

// Library is where a Driver finds its functions: libcuda, or the fake of package drivertest.
type Library interface {
	// Lookup returns the function of that name; false if there is none.
	Lookup(name string) (fn uintptr, ok bool)
	// Call calls a function that Lookup returned. It must not keep args, which the caller uses again.
	Call(fn uintptr, args []uintptr) Result
}

// Driver is an initialised libcuda. Its methods are safe for concurrent use.
type Driver struct {
	library   Library
	functions [symbolCount]uintptr
	version   Version
	devices   int
}

// Open finds libcuda, checks its version and initialises it; this takes a few tenths of a second. The errors say what to do:
// *NotFoundError (no driver), *NotBuiltError (no CUDA in this executable), *VersionError (too old), *SymbolError (incomplete),
// *NoDeviceError, or *Error with what the driver said. Open may be called more than once.
func Open() (*Driver, error) {
	l, err := openLibrary()
	if err != nil {
		return nil, err
	}
	return New(l)
}

// New is Open on a given library.
func New(l Library) (*Driver, error) {
	d := &Driver{library: l}
	for s := range symbolCount {
		if fn, ok := l.Lookup(s.String()); ok {
			d.functions[s] = fn
		}
	}
	if d.functions[cuDriverGetVersion] == 0 {
		return nil, &SymbolError{Name: cuDriverGetVersion.String()}
	}
	var v int32
	if err := d.call(cuDriverGetVersion, uintptr(unsafe.Pointer(&v))); err != nil {
		return nil, err
	}
	d.version = Version(v)
	if d.version < MinVersion {
		return nil, &VersionError{Have: d.version, Need: MinVersion}
	}
	for s := range symbolCount {
		if name, ok := required[s]; ok && d.functions[s] == 0 {
			return nil, &SymbolError{Name: name, Have: d.version}
		}
	}
	if err := d.call(cuInit, 0); err != nil {
		if err.Code == NoDevice {
			return nil, &NoDeviceError{Driver: d.version}
		}
		return nil, err
	}
	var n int32
	if err := d.call(cuDeviceGetCount, uintptr(unsafe.Pointer(&n))); err != nil {
		return nil, err
	}
	if n < 1 {
		return nil, &NoDeviceError{Driver: d.version}
	}
	d.devices = int(n)
	return d, nil
}

// Version is the newest CUDA version that the driver supports.
func (d *Driver) Version() Version { return d.version }

// Devices is how many devices there are, at least 1.
func (d *Driver) Devices() int { return d.devices }

// need returns an error if the driver lacks an optional function.
func (d *Driver) need(s symbol) error {
	if d.functions[s] != 0 {
		return nil
	}
	if o := optional[s]; d.version < o.since {
		return &VersionError{Have: d.version, Need: o.since, For: o.name}
	}
	return &SymbolError{Name: s.String(), Have: d.version}
}

// call calls a function that needs no context. Pointers to Go memory are converted to uintptr in the argument list and nowhere
// else: the directive then moves what they point to onto the heap and keeps it alive until call returns.
//
//go:uintptrescapes
func (d *Driver) call(s symbol, args ...uintptr) *Error {
	if r := d.library.Call(d.functions[s], args); r != Success {
		return &Error{Call: s.String(), Code: r}
	}
	return nil
}
