// Package ref computes every operation of package kernels in the slowest and most obvious way: the oracle that devices
// are judged by, and what a graph falls back to where no device runs it.
//
// Each operation is one function that reads like the formula in its spec's comment and yields any single element of the
// output. It is generic over the float that it computes in. [Eval] is the float64 instance, the truth. [Eval32] is the
// float32 instance: the same loops with every intermediate result rounded, which is what a plain implementation in
// single precision would give, so its distance from [Eval] is the yardstick for a device's error.
package ref
