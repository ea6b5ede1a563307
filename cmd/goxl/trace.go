package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/kernels/cpu"
)

// tracer adds up the timings that a device reports of its operations.
type tracer struct{ byOp map[string]total }

type total struct {
	calls int
	flops int64
	spent time.Duration
}

// add is cpu.Options.Trace.
func (t *tracer) add(n cpu.Timing) {
	op := strings.TrimPrefix(fmt.Sprintf("%T", n.Node.Spec), "kernels.")
	sum := t.byOp[op]
	sum.calls++
	sum.flops += n.FLOPs
	sum.spent += n.Duration
	t.byOp[op] = sum
}

// reset forgets everything so far.
func (t *tracer) reset() { t.byOp = map[string]total{} }

// flops is the sum over all operations.
func (t *tracer) flops() int64 {
	var n int64
	for _, sum := range t.byOp {
		n += sum.flops
	}
	return n
}

// opFigure is what one kind of operation takes of a step.
type opFigure struct {
	Op       string  `json:"op"`
	Calls    int     `json:"calls"`
	MS       float64 `json:"ms"`
	Fraction float64 `json:"fraction"` // of the step's time, 0 to 1
	GFLOP    float64 `json:"gflop"`
	GFLOPS   float64 `json:"gflops"`
	Peak     float64 `json:"peak"` // fraction of the machine's, 0 to 1
}

// figures divides the sums by the number of steps that they cover, which took the time all. The longest come first.
func (t *tracer) figures(steps int, all time.Duration, m machine) []opFigure {
	list := []opFigure{}
	for op, sum := range t.byOp {
		n := float64(steps)
		f := opFigure{Op: op, Calls: sum.calls / steps, MS: sum.spent.Seconds() * 1e3 / n, Fraction: sum.spent.Seconds() / all.Seconds(),
			GFLOP: float64(sum.flops) / 1e9 / n}
		f.GFLOPS = rate(sum.flops, sum.spent)
		f.Peak = m.fraction(f.GFLOPS)
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b opFigure) int { return cmp.Or(cmp.Compare(b.MS, a.MS), cmp.Compare(a.Op, b.Op)) })
	return list
}

// rate is in GFLOP/s.
func rate(flops int64, spent time.Duration) float64 {
	return float64(flops) / 1e9 / max(spent, time.Nanosecond).Seconds()
}

func printOps(w io.Writer, ops []opFigure) {
	fmt.Fprintf(w, "\n%-20s %6s %11s %8s %10s %10s %7s\n", "operation", "calls", "ms a step", "fraction", "GFLOP", "GFLOP/s", "peak")
	for _, f := range ops {
		fmt.Fprintf(w, "%-20s %6d %11.2f %8s %10.2f %10.1f %7s\n", f.Op, f.Calls, f.MS, percent(f.Fraction), f.GFLOP, f.GFLOPS, percent(f.Peak))
	}
}
