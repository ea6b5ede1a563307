// Package driver is the part of NVIDIA's driver API that the CUDA engine uses, found in libcuda.so.1 at run time: no
// cgo, no toolkit, and a machine without the library gets an error from [Open], not a program that does not start.
//
// The way through it:
//
//	Open → Driver → Device → Context → Stream, Event, Module → Function → Launch
//	                                   └ Capture → Graph → GraphExec
//
// # ABI
//
// Functions are looked up under names whose signature never changes (cuCtxCreate_v2, cuMemAlloc_v2,
// cuGraphInstantiate_v2), not under those that the headers' macros choose, so one table serves every driver from CUDA
// 11.0 ([MinVersion], R450) on. Newer functions are a second, optional list; what needs one says so in its error.
//
// # Threads
//
// CUDA's current context belongs to an operating system thread, and a goroutine may change threads between any two
// calls. Every call of a context therefore locks its goroutine to the thread, makes the context current, calls, and
// unlocks. That costs one extra driver call (about 0.1 µs against some 4 µs for a launch, and less than a switch to a
// dedicated thread, which was measured at 4 µs), leaves no state behind that another goroutine could meet, and lets any
// goroutine use any object. A context's methods and those of what it made are safe for concurrent use unless they say
// otherwise; closing an object while another goroutine uses it is an error of the caller, except that [Context.Close]
// waits for calls in flight.
//
// # Errors
//
// Every return code is checked and becomes an [*Error] with the call's name. Kernels fail asynchronously: the call that
// reports a fault is seldom the one that caused it. A fault ends the context ([IsLost]): from then on all its calls
// return the first such error without entering the driver, and the Close methods of its objects succeed at once
// (everything dies with the context). The process goes on, but without the device: cuCtxCreate repeats the fault,
// whatever was destroyed or reset before (H200, driver 580: destroying every context, cuDevicePrimaryCtxReset, waiting;
// TestRealFault). Another process has the device as before, so a program that must survive faults keeps its contexts in
// a process that it can start again.
//
// # Build
//
// With purego in it an executable is linked dynamically against libc. The build tag nocuda leaves purego out, for a
// static binary; Open then fails as it does on systems other than Linux on amd64 and arm64.
package driver
