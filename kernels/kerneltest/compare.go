package kerneltest

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// Judged is one set of elements of an output, side by side.
type Judged struct {
	Elements []int     // flat indices, for messages
	Got      []float32 // the device's
	Want     []float64 // the truth
	Plain    []float32 // the yardstick's
	Scale    []float64 // the magnitude that each element was summed from
	Floor    float64   // in units of Scale
}

// Share is how much of its budget a device used: 1 is all of it.
type Share struct{ RMS, Max float64 }

func (s Share) String() string { return fmt.Sprintf("rms %.0f%%, max %.0f%%", 100*s.RMS, 100*s.Max) }

// worse joins two shares.
func (s Share) worse(o Share) Share { return Share{max(s.RMS, o.RMS), max(s.Max, o.Max)} }

// Compare applies the rule of the package comment. A value that is not finite is an error, whatever stands beside it.
func Compare(j Judged) (Share, error) {
	n := len(j.Want)
	if n == 0 || len(j.Elements) != n || len(j.Got) != n || len(j.Plain) != n || len(j.Scale) != n {
		return Share{}, fmt.Errorf("nothing to compare, or unequal lengths: %d elements, %d got, %d want, %d plain, %d scales",
			len(j.Elements), len(j.Got), n, len(j.Plain), len(j.Scale))
	}
	if !finite(j.Floor) || j.Floor < 0 {
		return Share{}, fmt.Errorf("floor %v", j.Floor)
	}
	for k := range n {
		switch {
		case !finite(float64(j.Got[k])):
			return Share{}, fmt.Errorf("element %d is %v, want %v", j.Elements[k], j.Got[k], j.Want[k])
		case !finite(j.Want[k]) || !finite(float64(j.Plain[k])) || !finite(j.Scale[k]) || j.Scale[k] < 0:
			return Share{}, fmt.Errorf("element %d cannot judge anything: truth %v, yardstick %v, scale %v",
				j.Elements[k], j.Want[k], j.Plain[k], j.Scale[k])
		}
	}
	got, worst := normalised(j.Got, j.Want, j.Scale)
	plain, _ := normalised(j.Plain, j.Want, j.Scale)
	share := Share{ratio(got.rms, 2*plain.rms+j.Floor), ratio(got.max, 2*plain.max+j.Floor)}
	if share.RMS > 1 || share.Max > 1 {
		return share, fmt.Errorf("error beyond its budget (%v): normalised rms %.3g, max %.3g, of plain float32 %.3g, %.3g, floor %.3g; worst is element %d: got %v, want %v",
			share, got.rms, got.max, plain.rms, plain.max, j.Floor, j.Elements[worst], j.Got[worst], j.Want[worst])
	}
	return share, nil
}

type deviation struct{ rms, max float64 }

// normalised measures got against want in units of scale. An error where the scale is zero is infinite.
func normalised(got []float32, want, scale []float64) (d deviation, worst int) {
	for k := range want {
		e := ratio(math.Abs(float64(got[k])-want[k]), scale[k])
		d.rms += e * e
		if e > d.max {
			d.max, worst = e, k
		}
	}
	d.rms = math.Sqrt(d.rms / float64(len(want)))
	return d, worst
}

// ratio is a/b where no error in nothing allowed is no share of it.
func ratio(a, b float64) float64 {
	if a == 0 {
		return 0
	}
	return a / b
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// firstBad returns the index of the first NaN or Inf, -1 if there is none.
func firstBad(v []float32) int {
	const exponent = 0x7f800000
	for i, f := range v {
		if math.Float32bits(f)&exponent == exponent {
			return i
		}
	}
	return -1
}

// floor is derived in the package comment.
func floor(s kernels.Spec, precision kernels.DType) float64 {
	switch s.(type) {
	case kernels.Concat, kernels.Resize, kernels.Gather, kernels.ToPixels:
		return 0
	}
	f := 4 * 0x1p-23
	switch precision {
	case kernels.F16:
		f += 0x1p-11
	case kernels.BF16:
		f += 0x1p-8
	}
	return f
}
