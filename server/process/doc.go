// Package process runs an engine of package server in a process of its own.
//
// A kernel that faults takes the card from the process that it belongs to, for good (see kernels/cuda/driver). So a server that is to live on
// keeps away from the card: it starts a program for each, which calls [Serve], and talks to it through an [Engine]. When that is lost, the
// server closes it, which ends the program, and starts another.
//
// The two talk over the program's standard input and output, in Go's gob encoding, both being the same executable. The program ends when its
// input does, so it does not outlive the server, whatever ended that.
package process
