// Package cases is one table of operations, at the shapes of Stable Diffusion XL and at odd ones, and what computes a
// case on any device through the public contract alone: its operands, and a compiled plan of it.
//
// The table has two parts. The small cases are of every operation and fusion at odd shapes; a CPU computes them in
// seconds. The real ones have the shapes of the published models; a CPU takes minutes for them.
//
// kernels/kerneltest checks devices against the table, kernels/kernelbench times them.
package cases

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/goxl/goxl/kernels"
)

// All returns the whole table. Names are unique.
func All() []Case { return append(oddCases(), realCases()...) }

// Match returns the cases whose names match the regular expression filter and that keep accepts, in order. It reuses
// the slice. That no case is left is an error.
func Match(all []Case, filter string, keep func(Case) bool) ([]Case, error) {
	pattern, err := regexp.Compile(filter)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	all = slices.DeleteFunc(all, func(c Case) bool { return !keep(c) || !pattern.MatchString(c.Name) })
	if len(all) == 0 {
		return nil, fmt.Errorf("filter %q matches no case", filter)
	}
	return all, nil
}

// Precision is the device's default precision.
func Precision(d kernels.Device) kernels.DType {
	if p := d.Info().Precisions; len(p) > 0 {
		return p[0]
	}
	return kernels.F32
}
