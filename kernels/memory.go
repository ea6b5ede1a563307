package kernels

import "errors"

// ErrMemory is what errors.Is finds in an error for want of a device's memory. Nothing is lost by one: what is open stays usable, and a smaller program runs.
var ErrMemory = errors.New("kernels: out of device memory")

// Memory is what a device has taken of its own memory, in bytes.
type Memory struct {
	Limit int64 // the most that it may take: what it was given, or what other processes leave
	Used  int64 // by weights, programs and arena
	Peak  int64 // the most that ever was used
	Arena int64 // of Used: shared by the programs, it grows and shrinks with those that run
}

// Budgeted is a Device that has memory of its own, which weights leave for one another when they must.
type Budgeted interface {
	Memory() (Memory, error)
}

// Footprint is what a program takes of its device's memory to run, in bytes, besides its own Program.Bytes.
type Footprint struct {
	Weights int64 // all that it uses
	Missing int64 // those of them that are not resident
	Arena   int64
}

// Measured is a Program of a Budgeted device.
type Measured interface {
	Footprint() Footprint
}
