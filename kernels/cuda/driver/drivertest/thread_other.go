//go:build !linux

package drivertest

// thread cannot tell threads apart here: a context counts as current on all of them.
func thread() int { return 0 }
