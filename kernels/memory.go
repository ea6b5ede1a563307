package kernels

import (
	"errors"
	"fmt"
)

// ErrMemory is what errors.Is finds in an error for want of a device's memory. Nothing is lost by one: what is open
// stays usable, and a smaller program runs.
var ErrMemory = errors.New("kernels: out of device memory")

// MemoryError is an ErrMemory with its sizes, in bytes.
type MemoryError struct {
	Needed  int64 // in all, with what was taken before and can't be given back
	Allowed int64 // the most that the device may take
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("%v: %s needed, %s allowed: choose a smaller size or batch, or allow more memory", ErrMemory, FormatBytes(e.Needed), FormatBytes(e.Allowed))
}

// Is makes errors.Is(err, ErrMemory) work.
func (e *MemoryError) Is(target error) bool { return target == ErrMemory }

// FormatBytes shows a size in bytes, MiB from a hundredth of one, or GiB from 1 on.
func FormatBytes(n int64) string {
	switch {
	case n < 1<<20/100:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<30:
		return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
}

// Memory is what a device has taken of the memory that it may take, in bytes.
type Memory struct {
	Limit int64 // the most that it may take: what it was given, or what other processes leave
	Used  int64 // by weights, programs and arena
	Peak  int64 // the most that ever was used
	Arena int64 // of Used: shared by the programs, it grows and shrinks with those that run
}

// Footprint is what a program takes of its device's memory to run, in bytes, besides its own Program.Bytes.
type Footprint struct {
	Weights int64 // all that it uses
	Missing int64 // those of them that are not resident
	Arena   int64
}
