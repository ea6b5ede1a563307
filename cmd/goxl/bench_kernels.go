package main

import (
	"context"
	"fmt"

	"github.com/goxl/goxl/kernels/kernelbench"
)

// kernelFigures is bench kernels as JSON.
type kernelFigures struct {
	Machine machine              `json:"machine"`
	Figures []kernelbench.Figure `json:"figures"`
}

// kernels times the operations of the conformance table at the model's real shapes, and prints each as soon as it is
// measured.
func (b *bench) kernels(ctx context.Context) (any, error) {
	const line = "%-34s %10s %10s %10s %8s %7s  %s\n"
	fmt.Fprintf(b.out, line, "operation", "ms", "least ms", "GFLOP/s", "GB/s", "peak", "inputs")
	figures, err := kernelbench.Run(ctx, b.on, kernelbench.Options{Filter: b.filter, Precision: b.precision, Report: func(f kernelbench.Figure) {
		number := func(format string, v float64) string { return fmt.Sprintf(format, v) }
		fmt.Fprintf(b.out, line, f.Name, number("%.3f", f.MS), number("%.3f", f.MinMS), number("%.1f", f.GFLOPS), number("%.1f", f.GBs), percent(f.Peak), f.Shape)
	}})
	return kernelFigures{b.machine, figures}, err
}
