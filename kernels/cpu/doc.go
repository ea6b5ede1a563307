// Package cpu is the processor as a device: float32 arithmetic in portable Go, with AVX2 and AVX-512 assembly behind a
// registry of variants, on one pool of workers.
//
// Weights stay in the file's width and are widened panel by panel while they are multiplied, so a mapped model is read, never copied.
package cpu
