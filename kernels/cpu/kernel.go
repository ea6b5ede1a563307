package cpu

import "github.com/goxl/goxl/kernels"

// view is a tensor view, one operand of a kernel while it runs: dense, in exactly one of the four slices.
type view struct {
	shape []int
	dtype kernels.DType
	f32   []float32
	u16   []uint16 // F16 and BF16 weights, as they lie in the file
	i32   []int32
	u8    []uint8
}

// kernel computes one node of a plan. It is made for a fixed spec and fixed shapes, and its run allocates nothing. It
// lives as long as its program, the arena in which its operands lie does not: release is what keeps an arena of the
// past from staying with a program that does not run.
type kernel interface {
	// scratch returns how many float32 the kernel needs for itself and, besides, for each worker.
	scratch() (shared, perWorker int)
	// run computes out from in on all workers and returns when all is written.
	run(p *workers, in, out []view, s scratch) error
	// release lets go of all that run was given. It is called after every run, also one that panicked.
	release()
}

// scratch is working memory, not zeroed, 64-byte aligned.
type scratch struct {
	shared []float32
	worker [][]float32
}

// task is work in parts that are independent of each other. A kernel is usually its own task, so that handing it over
// allocates nothing.
type task interface {
	// do computes part i on worker w, 0 ≤ w < workers.count(); one worker does one part at a time.
	do(w, i int)
}
