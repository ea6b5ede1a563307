// Package cpu is the CPU as a device: float32 arithmetic in portable Go, with AVX2 and AVX-512 assembly behind a
// registry of variants, on one set of workers.
//
// Weights stay in the file's width and are widened panel by panel while they are multiplied, so a mapped model is read,
// never copied.
//
// The device counts what it takes of the process's memory, and takes no more than a budget: the arena that all programs
// run in, what each holds of its own, and weights that are not pages of mapped files. Programs point into the arena
// only while they run, so that it can move, shrink and go back to the system.
package cpu
