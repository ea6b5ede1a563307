package nn

import (
	"fmt"
	"math"

	"github.com/goxl/goxl/kernels"
)

// Difference is how far what one computation gave is from another's.
type Difference struct {
	Path      string  // of the module, with # and a number where it is applied again; or "output" and a name
	Run       string  // the computation: fused or unfused
	Against   string  // the one that judges it: unfused or gorgonia
	RMS       float64 // root mean square of the error, in units of the judge's
	Max       float64 // largest error, in units of the judge's root mean square plus the element's magnitude
	Budget    float64 // the most that RMS may be; Max may be 8 times that
	Share     float64 // of the budget: what is above 1 is beyond it
	NotFinite bool    // Run's values have NaN or Inf; RMS and Max are not measured, and Share is +Inf
}

func (d Difference) String() string {
	if d.NotFinite {
		return fmt.Sprintf("%s: NaN or Inf (%s)", d.Path, d.Run)
	}
	return fmt.Sprintf("%s: %s differs from %s by %.3g (rms), %.3g (max), %.3g times what rounding is allowed",
		d.Path, d.Run, d.Against, d.RMS, d.Max, d.Share)
}

// judge collects what Compare finds; see there for the budget.
type judge struct {
	floor float64 // the error of one operation
	found *Comparison
}

// floor is the relative error that one operation may make in a precision.
func floor(precision kernels.DType) float64 {
	f := 4 * 0x1p-23
	switch precision {
	case kernels.F16:
		f += 0x1p-11
	case kernels.BF16:
		f += 0x1p-8
	}
	return f
}

// outliers is how many times as far as the root mean square a single element's error may be.
const outliers = 8

// judge compares what a module gives after so many operations.
func (j judge) judge(path, run, against string, got, want []float32, operations int) {
	d := Difference{Path: path, Run: run, Against: against, Budget: 2 * j.floor * math.Sqrt(float64(operations))}
	switch {
	case notFinite(got):
		d.NotFinite = true
	case notFinite(want):
		d.NotFinite, d.Run = true, against
	default:
		d.RMS, d.Max = measure(got, want)
		d.Share = max(d.RMS, d.Max/outliers) / d.Budget
	}
	if d.NotFinite {
		d.Share = math.Inf(1)
	}
	if d.Share > 1 && j.found.First == nil {
		first := d
		j.found.First = &first
	}
	if d.Share >= j.found.Worst.Share {
		j.found.Worst = d
	}
}

func notFinite(x []float32) bool {
	const exponent = 0x7f800000
	for _, f := range x {
		if math.Float32bits(f)&exponent == exponent {
			return true
		}
	}
	return false
}

// measure is the error of got in units of want; an error where all that is wanted is zero is infinite.
func measure(got, want []float32) (rms, largest float64) {
	square := 0.0
	for _, w := range want {
		square += float64(w) * float64(w)
	}
	scale := math.Sqrt(square / float64(len(want)))
	square = 0
	for i, w := range want {
		e := math.Abs(float64(got[i]) - float64(w))
		square += e * e
		if e > 0 {
			largest = max(largest, e/(scale+math.Abs(float64(w))))
		}
	}
	if square > 0 {
		rms = math.Sqrt(square/float64(len(want))) / scale
	}
	return rms, largest
}
