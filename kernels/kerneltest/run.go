package kerneltest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/ref"
)

// Cases returns the whole table. Names are unique.
func Cases() []Case { return append(oddCases(), realCases()...) }

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
		precision = defaultPrecision(d)
	}
	cases, err := choice(Cases(), o.Filter, func(c Case) bool {
		return !(o.Only == Small && c.Big) && !(o.Only == Real && !c.Big) && !(c.Slow && !o.Thorough) && !(precision == kernels.F16 && c.Wide) // whose inputs are infinite in float16
	})
	if err != nil {
		t.Fatal(err)
		return
	}
	var most Share
	for _, c := range cases {
		one := func(t testing.TB) {
			share, err := c.check(context.Background(), d, precision, o)
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
	t.Logf("%s in %v: %d cases, at most %v of the budget", d.Info().Name, precision, len(cases), most)
}

// choice filters cases; none at all is an error.
func choice(cases []Case, filter string, keep func(Case) bool) ([]Case, error) {
	pattern, err := regexp.Compile(filter)
	if err != nil {
		return nil, fmt.Errorf("filter: %w", err)
	}
	cases = slices.DeleteFunc(cases, func(c Case) bool { return !keep(c) || !pattern.MatchString(c.Name) })
	if len(cases) == 0 {
		return nil, fmt.Errorf("filter %q matches no case", filter)
	}
	return cases, nil
}

func defaultPrecision(d kernels.Device) kernels.DType {
	if p := d.Info().Precisions; len(p) > 0 {
		return p[0]
	}
	return kernels.F32
}

// errDeclined is a device's refusal that nobody allowed.
var errDeclined = errors.New("the device does not support it")

// check runs one case.
func (c Case) check(ctx context.Context, d kernels.Device, precision kernels.DType, o RunOptions) (share Share, err error) {
	if !d.Supports(c.Spec, c.In) {
		if o.MayDecline != nil && o.MayDecline(c.Spec) {
			return Share{}, nil
		}
		return Share{}, errDeclined
	}
	data, tensors := c.operands(precision)
	if c.bytes() > 1<<28 {
		defer debug.FreeOSMemory() // hundreds of megabytes for each of a few cases, and only for it
	}
	b, err := c.compile(d, precision, data)
	if err != nil {
		return Share{}, err
	}
	defer func() {
		if e := b.close(); err == nil {
			err = e
		}
	}()
	if c.Fails {
		if err := b.program.Run(ctx); err != nil {
			return Share{}, nil
		}
		if err := b.wait(ctx); err == nil {
			return Share{}, errors.New("the run ended without the error that its inputs call for")
		}
		return Share{}, nil
	}
	outs, err := b.run(ctx)
	if err != nil {
		return Share{}, err
	}
	if err := b.program.Finite(ctx); err != nil {
		return Share{}, fmt.Errorf("finite outputs, but Finite says: %w", err)
	}
	if err := b.untouched(ctx); err != nil {
		return Share{}, err
	}
	if flops := c.Spec.FLOPs(c.In); o.Thorough || !c.Big || float64(flops) < repeatLimit {
		if err := b.write(); err != nil {
			return Share{}, err
		}
		again, err := b.run(ctx)
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
		s, err := c.judge(tensors, k, b.plan.Tensors[b.out[k]].Shape, got, precision)
		if err != nil {
			return share, fmt.Errorf("output %d: %w", k, err)
		}
		share = share.worse(s)
	}
	return share, nil
}

// bytes is the dense size of all inputs.
func (c Case) bytes() int64 {
	var n int64
	for _, t := range c.In {
		n += t.Bytes()
	}
	return n
}

// run runs the program and returns all outputs, which are finite.
func (b *fixture) run(ctx context.Context) ([][]float32, error) {
	if err := b.program.Run(ctx); err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	outs := make([][]float32, len(b.out))
	for k, v := range b.out {
		var err error
		if outs[k], err = b.read(ctx, v); err != nil {
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
func (c Case) judge(in []ref.Tensor, out int, shape []int, got []float32, precision kernels.DType) (Share, error) {
	elems := c.elements(shape)
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
			j.Scale, wideErr = c.scales(in, out, elems, j.Want)
		}
	})
	wg.Go(func() { j.Plain, plainErr = c.plain(in, out, elems, precision) })
	wg.Wait()
	if err := errors.Join(wideErr, plainErr); err != nil {
		return Share{}, err
	}
	return Compare(j)
}

// plain is the yardstick: float32, from weights rounded to the precision and to a result rounded to it.
func (c Case) plain(in []ref.Tensor, out int, elems []int, precision kernels.DType) ([]float32, error) {
	if precision != kernels.F32 {
		in = slices.Clone(in)
		for k, t := range c.In {
			if t.Role == kernels.Weight && t.DType != precision {
				in[k].F = slices.Clone(in[k].F)
				narrow(in[k].F, precision)
			}
		}
	}
	y, err := ref.Eval32(c.Spec, in, out, elems)
	if err == nil && precision != kernels.F32 {
		narrow(y, precision)
	}
	return y, err
}
