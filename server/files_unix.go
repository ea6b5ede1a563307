//go:build unix

package server

import "syscall"

// openFiles is how many files the process may have open. Go has raised the limit as far as it may when it started.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 1024
	}
	return uint64(limit.Cur)
}
