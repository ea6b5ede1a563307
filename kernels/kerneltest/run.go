package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
	"github.com/goxl/goxl/kernels/ref"
)

// Part is a part of the table.
type Part int

// The small cases, whose shapes are odd and which are judged whole, and the real ones, which are those of the published
// models and take minutes.
const (
	Whole Part = iota
	Small
	Real
)

// RunOptions narrows Run. The zero value is everything, in the device's default precision.
type RunOptions struct {
	Filter    string        // a regular expression over names; empty is all
	Precision kernels.DType // 0 is the device's default
	Only      Part          // the zero value is the whole table
	// Thorough runs every case twice to see that the results are equal bit by bit, the slow ones too; otherwise real shapes above
	// 2·10¹⁰ operations run once and slow ones not at all.
	Thorough bool
	// MayDecline says which operations the device is allowed not to support; nil is none.
	MayDecline func(kernels.Spec) bool
}

// repeatLimit is described at Thorough.
const repeatLimit = 2e10

// Run checks a device against the table: each case is a plan of one node, compiled, run and read through the contract.
// It fails t for results that are not finite, exceed the tolerance of the package comment or differ between two runs, for inputs, sentinels or
// memory beside a destination that change, for bad ids that go unnoticed, and where no case matches.
// Where t is a *testing.T every case is a subtest; every case logs the share of its budget.
func Run(t testing.TB, d kernels.Device, o RunOptions) {
	t.Helper()
	precision := o.Precision
	if precision == 0 {
		precision = cases.Precision(d)
	}
	chosen, err := cases.Match(cases.All(), o.Filter, func(c cases.Case) bool {
		return !(o.Only == Small && c.Big) && !(o.Only == Real && !c.Big) && !(c.Slow && !o.Thorough) &&
			!(precision == kernels.F16 && c.Wide) // whose inputs are infinite in float16
	})
	if err != nil {
		t.Fatal(err)
		return
	}
	var most Share
	for _, c := range chosen {
		one := func(t testing.TB) {
			share, err := check(context.Background(), c, d, precision, o)
			if err != nil {
				t.Errorf("%s (%T%+v): %v", c.Name, c.Spec, c.Spec, err)
				return
			}
			t.Logf("%s: %v of the budget", c.Name, share)
			most = most.worse(share)
		}
		if parent, ok := t.(*testing.T); ok {
			parent.Run(c.Name, func(t *testing.T) { one(t) })
		} else {
			one(t)
		}
	}
	t.Logf("%s in %v: %d cases, at most %v of the budget", d.Info().Name, precision, len(chosen), most)
}

// errDeclined is a device's refusal that nobody allowed.
var errDeclined = errors.New("the device does not support it")

// check runs one case.
func check(ctx context.Context, c cases.Case, d kernels.Device, precision kernels.DType, o RunOptions) (share Share, err error) {
	if !d.Supports(c.Spec, c.In) {
		if o.MayDecline != nil && o.MayDecline(c.Spec) {
			return Share{}, nil
		}
		return Share{}, errDeclined
	}
	data, tensors := c.Operands(precision)
	if c.InputBytes() > 1<<28 {
		defer debug.FreeOSMemory() // hundreds of megabytes for each of a few cases, and only for it
	}
	f, err := c.Compile(d, precision, data)
	if err != nil {
		return Share{}, err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if c.Fails {
		if err := f.Program.Run(ctx); err != nil {
			return Share{}, nil
		}
		if err := f.Wait(ctx); err == nil {
			return Share{}, errors.New("the run ended without the error that its inputs call for")
		}
		return Share{}, nil
	}
	outs, err := run(ctx, f)
	if err != nil {
		return Share{}, err
	}
	if err := f.Program.Finite(ctx); err != nil {
		return Share{}, fmt.Errorf("finite outputs, but Finite says: %w", err)
	}
	if err := f.Untouched(ctx); err != nil {
		return Share{}, err
	}
	if flops := c.Spec.FLOPs(c.In); o.Thorough || !c.Big || float64(flops) < repeatLimit {
		if err := f.Write(); err != nil {
			return Share{}, err
		}
		again, err := run(ctx, f)
		if err != nil {
			return Share{}, fmt.Errorf("second run: %w", err)
		}
		for k := range outs {
			if i := differs(outs[k], again[k]); i >= 0 {
				return Share{}, fmt.Errorf("output %d, element %d was %v in one run and %v in the next", k, i, outs[k][i], again[k][i])
			}
		}
	}
	for k, got := range outs {
		s, err := judge(c, tensors, k, f.Plan.Tensors[f.Out[k]].Shape, got, precision)
		if err != nil {
			return share, fmt.Errorf("output %d: %w", k, err)
		}
		share = share.worse(s)
	}
	return share, nil
}

// run runs the program and returns all outputs, which are finite.
func run(ctx context.Context, f *cases.Fixture) ([][]float32, error) {
	if err := f.Program.Run(ctx); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	outs := make([][]float32, len(f.Out))
	for k, v := range f.Out {
		var err error
		if outs[k], err = f.Read(ctx, v); err != nil {
			return nil, err
		}
		if i := firstBad(outs[k]); i >= 0 {
			return nil, fmt.Errorf("output %d, element %d is %v", k, i, outs[k][i])
		}
	}
	return outs, nil
}

// differs returns the first index where the bits differ, -1 if there is none.
func differs(a, b []float32) int {
	for i := range a {
		if math.Float32bits(a[i]) != math.Float32bits(b[i]) {
			return i
		}
	}
	return -1
}

// judge compares an output with the truth.
func judge(c cases.Case, in []ref.Tensor, out int, shape []int, got []float32, precision kernels.DType) (Share, error) {
	elems := elements(c, shape)
	if elems == nil {
		elems = make([]int, len(got))
		for i := range elems {
			elems[i] = i
		}
	}
	j := Judged{Elements: elems, Floor: floor(c.Spec, precision), Got: make([]float32, len(elems))}
	for k, i := range elems {
		j.Got[k] = got[i]
	}
	var wg sync.WaitGroup
	var wideErr, plainErr error
	wg.Go(func() {
		if j.Want, wideErr = ref.Eval(c.Spec, in, out, elems); wideErr == nil {
			j.Scale, wideErr = scales(c, in, out, elems, j.Want)
		}
	})
	wg.Go(func() { j.Plain, plainErr = plain(c, in, out, elems, precision) })
	wg.Wait()
	if err := errors.Join(wideErr, plainErr); err != nil {
		return Share{}, err
	}
	return Compare(j)
}

// plain is the yardstick: float32, from weights rounded to the precision and to a result rounded to it.
func plain(c cases.Case, in []ref.Tensor, out int, elems []int, precision kernels.DType) ([]float32, error) {
	if precision != kernels.F32 {
		in = slices.Clone(in)
		for k, t := range c.In {
			if t.Role == kernels.Weight && t.DType != precision {
				in[k].F = slices.Clone(in[k].F)
				cases.Round(in[k].F, precision)
			}
		}
	}
	y, err := ref.Eval32(c.Spec, in, out, elems)
	if err == nil && precision != kernels.F32 {
		cases.Round(y, precision)
	}
	return y, err
}
