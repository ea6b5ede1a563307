// Package process runs an engine of package server in a process of its own.
//
// A kernel that faults takes the card from the process that it belongs to, for good (see kernels/cuda/driver). So a
// server that is to live on keeps away from the card: it starts a program for each, which calls [Serve], and talks to
// it through an [Engine]. When that is lost, the server closes it, which ends the program, and starts another.
//
// The two talk over two pipes, file descriptors 3 and 4 of the program, so that its standard output is left to the
// libraries that print there; on Windows, where a program gets no further descriptors, over standard input and output.
// Each message is a small header in JSON, and then the pixels and latents that it announces, raw, since both are the
// same executable: they are written from where they are and read to where they stay. The program ends when its
// input does, so it does not outlive the server, whatever ended that.
//
// A program that is stopped or hangs is killed, and then lost like any other: one that gives no sign of life for
// [Config].SilenceTimeout, and one that computes but makes no step for StallTimeout beyond what a step takes by the
// model's cost.
package process
