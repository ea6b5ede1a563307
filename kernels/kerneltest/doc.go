// Package kerneltest checks any device against the table of kernels/cases ([Run]) through the public contract alone.
//
// # Tolerance
//
// The truth y is kernels/ref in float64, the yardstick r is the same loops in float32. A device's d is judged over the
// chosen elements of an output by its normalised error e = |d−y|/s, where s is the magnitude that the element was
// summed from: the root of the sum of the squares of its terms, which unlike |y| does not vanish where terms cancel.
// With e' = |r−y|/s of the yardstick, the device passes if
//
//	rms(e) ≤ 2·rms(e') + floor   and   max(e) ≤ 2·max(e') + floor
//
// The floor is four units in the last place, 4·2⁻²³. It is there for short sums, where the yardstick may be exact by
// luck: a product rounded before it is added, a reordered sum of three, and an exponential or a quotient that is one
// unit off make an ulp or two together. For long sums the yardstick dominates: sequential summation of K terms errs by
// about 2⁻²⁵·√K of s, so that a device may err as plain code does, twice over, and no more. Operations that only move
// data have to be exact, and so has rounding to pixels, wherever float32's arithmetic gives the byte that float64's
// does.
//
// In a 16-bit precision every input is representable in it; the yardstick rounds weights, and its results, to that
// precision, and the floor grows by half a unit of it, the rounding of one result.
//
// The small cases take seconds: go test runs them on every variant of a device. The real ones take minutes on a CPU:
// make conformance.
//
// NaN and Inf are looked for before anything else, in the whole of every output. Printed with every case: the share of
// the budget used.
package kerneltest
