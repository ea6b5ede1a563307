// Package engine is the bookkeeping that every device of package kernels does alike: the right to compute, what is open
// on a device, which values callers may write and read, where values lie, and whether weights are what a plan says. It
// computes nothing and owns no memory; a device keeps a [Device], and each of its programs a [Program].
package engine
