// Package kernels is the contract between the models and the devices that run them.
//
// Package nn states what is computed: a [Plan], which is a list of fused operations ([Spec]) over numbered
// values, each with a [Role] that says when it can change. A [Device] compiles the plan into a [Program] and alone
// chooses layout, pitch, workspace, weight packing and addresses; two planners that every device needs, the split into
// work that runs once a request and work that runs each step, and the arena layout by lifetime, live here too. What
// else devices do alike (who may write which value, what is open, whether weights fit) is package kernels/engine.
//
// Shapes in a plan are logical. Images are NHWC, token sequences [batch, tokens, channels]. Weights keep the
// checkpoint's layout: convolutions [out, in, kh, kw], linear layers [out, in]. Layers and norms have optional inputs:
// [Operands] says at which place each is.
//
// To add an operation: the spec with its shape rule and FLOP count here, the obvious version in kernels/ref, a case
// at real shapes in kernels/cases, the call in nn (with its decomposed form), then the devices.
package kernels
