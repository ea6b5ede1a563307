package drivertest

import "syscall"

// thread names the calling thread: a context is current on one thread only.
func thread() int { return syscall.Gettid() }
