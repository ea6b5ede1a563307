//go:build !unix

package server

// openFiles is how many files the process may have open.
func openFiles() uint64 { return 1 << 16 }
