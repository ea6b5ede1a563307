// Package kernelbench times devices at the real shapes of kernels/cases through the public contract alone: goxl bench
// kernels.
package kernelbench

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/kernels/cases"
)

// Options narrows Run. The zero value times every real shape in the device's default precision.
type Options struct {
	Filter    string        // a regular expression over names; empty is all
	Precision kernels.DType // 0 is the device's default
	Report    func(Figure)  // called as each figure is known; may be nil
}

// Figure is the speed of one case.
type Figure struct {
	Name   string  `json:"name"`
	Shape  string  `json:"shape"` // of the inputs
	Runs   int     `json:"runs"`  // timed, in groups that last at least two milliseconds, on a device that computes what is queued twenty
	MinMS  float64 `json:"min_ms"`
	MS     float64 `json:"ms"` // median
	GFLOPS float64 `json:"gflops"`
	GBs    float64 `json:"gb_s"`           // inputs and outputs, once each (of tables the rows chosen), in 10⁹ bytes a second
	Peak   float64 `json:"peak,omitempty"` // fraction of the device's measured peak, 0 to 1; 0 where there is none
}

// Run times the cases of cases.Timed. Rates are those of the median. On a device with memory of its own, which computes what a
// host has queued, the time is that of one operation among many between temporaries; on others that of a run with its operands
// as the caller gives them. Cases that would take over longestRun at the device's measured peak are left out. It stops at the
// first error.
func Run(ctx context.Context, d kernels.Device, o Options) ([]Figure, error) {
	chosen, err := cases.Match(cases.Timed(), o.Filter, func(cases.Case) bool { return true })
	if err != nil {
		return nil, err
	}
	precision := o.Precision
	if precision == 0 {
		precision = cases.Precision(d)
	}
	var figures []Figure
	for _, c := range chosen {
		if !d.Supports(c.Spec, c.In) {
			continue // nn runs it decomposed
		}
		if peak := d.Info().PeakFLOPS; peak > 0 && float64(c.Spec.FLOPs(c.In)) > peak*longestRun.Seconds() {
			continue
		}
		f, err := timeCase(ctx, c, d, precision)
		if err != nil {
			return figures, fmt.Errorf("%s: %w", c.Name, err)
		}
		figures = append(figures, f)
		if o.Report != nil {
			o.Report(f)
		}
	}
	return figures, nil
}

// A case is timed in groups of runs, each of at least groupTime, until there are minGroups and enoughTime has gone by.
const (
	groupTime  = 2 * time.Millisecond
	minGroups  = 5
	maxGroups  = 50
	enoughTime = 300 * time.Millisecond
	longestRun = 5 * time.Second
)

func timeCase(ctx context.Context, c cases.Case, d kernels.Device, precision kernels.DType) (f Figure, err error) {
	c.In = slices.Clone(c.In)
	for k := range c.In {
		if c.In[k].Role == kernels.Request {
			c.In[k].Role = kernels.Step // so that every run computes the node
		}
	}
	data, _ := c.Operands(precision)
	if c.InputBytes() > 1<<28 {
		defer debug.FreeOSMemory()
	}
	if kernels.Queues(d) {
		return timeAmongMany(ctx, c, d, precision, data)
	}
	x, err := c.Compile(d, precision, data)
	if err != nil {
		return f, err
	}
	defer func() {
		if e := x.Close(); err == nil {
			err = e
		}
	}()
	times, runs, err := measure(ctx, x, groupTime, enoughTime)
	if err != nil {
		return f, err
	}
	return figure(c, d, times, runs*len(times), 0)
}

// measure returns what a run takes, the mean of each group of so many runs, which lasts at least long, for as long as is enough.
func measure(ctx context.Context, x *cases.Fixture, long, enough time.Duration) (times []time.Duration, runs int, err error) {
	group := func() (time.Duration, error) {
		start := time.Now()
		for range runs {
			if err := x.Program.Run(ctx); err != nil {
				return 0, err
			}
		}
		err := x.Wait(ctx)
		return time.Since(start), err
	}
	runs = 1
	for warm := range 8 { // the first runs may pack weights, fault pages in and raise clocks
		t, err := group()
		if err != nil {
			return nil, 0, err
		}
		if t >= long && warm > 0 {
			break
		}
		if t < long {
			runs = min(4*runs, 1024)
		}
	}
	for begin := time.Now(); len(times) < minGroups || len(times) < maxGroups && time.Since(begin) < enough; {
		t, err := group()
		if err != nil {
			return nil, 0, err
		}
		times = append(times, t/time.Duration(runs))
	}
	return times, runs, nil
}

// figure turns times of one run, of which there were so many in all, into rates. Numbers have width bytes each, or what their type has if it is 0.
func figure(c cases.Case, d kernels.Device, times []time.Duration, runs int, width int64) (Figure, error) {
	outs, err := c.Spec.Infer(c.In)
	if err != nil {
		return Figure{}, err
	}
	size := func(tensors []kernels.Tensor) (n int64) {
		for _, t := range tensors {
			if width > 0 && t.DType == kernels.F32 {
				n += width * int64(t.Len())
				continue
			}
			n += t.Bytes()
		}
		return n
	}
	written := size(outs)
	bytes := size(c.In) + written
	switch c.Spec.(type) {
	case kernels.Embedding, kernels.Gather: // of the tables, only the rows chosen
		bytes = 2 * written
	}
	var shapes []string
	for _, t := range c.In {
		shapes = append(shapes, strings.ReplaceAll(strings.Trim(fmt.Sprint(t.Shape), "[]"), " ", "x"))
	}
	slices.Sort(times)
	median := max(times[len(times)/2], time.Nanosecond)
	f := Figure{
		Name:   c.Name,
		Shape:  strings.Join(shapes, " "),
		Runs:   runs,
		MinMS:  times[0].Seconds() * 1e3,
		MS:     median.Seconds() * 1e3,
		GFLOPS: float64(c.Spec.FLOPs(c.In)) / median.Seconds() / 1e9,
		GBs:    float64(bytes) / median.Seconds() / 1e9,
	}
	if peak := d.Info().PeakFLOPS; peak > 0 {
		f.Peak = f.GFLOPS * 1e9 / peak
	}
	return f, nil
}
