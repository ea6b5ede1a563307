// Package nn turns models into plans that a device compiles.
//
// A module is a struct whose fields carry the checkpoint's names:
//
//	type Attention struct {
//		ToQ *nn.Linear `weight:"to_q"`
//		…
//	}
//
// [Bind] checks a module tree against a checkpoint: every parameter needs its tensor, and a tensor of a module that the
// configuration leaves out is an error; others that no module has are listed, for a warning. [Build] runs a model's
// Forward, which states the computation on a [Builder]; the result is a [Graph]: a gorgonia expression graph whose
// nodes are fused operations (package kernels) and the plan that a device compiles from it. A [Network] holds the
// weights of one component on a device and its compiled programs.
//
// While a graph is built, modules panic on a shape that does not fit; Build returns that as an error naming operation
// and module path.
//
// A [Tap] reads or replaces what modules compute, and gives the probabilities of attention.
// [Compare] computes a graph fused, unfused and on gorgonia's machine, and names the first module that differs.
//
// There are no gradients: the operations have no derivatives, on goxl's devices or on gorgonia's machines, so that
// nothing can be trained with this package.
package nn
