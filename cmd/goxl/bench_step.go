package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

// stepFigures is bench step as JSON.
type stepFigures struct {
	opened
	Prepared float64    `json:"prepared_s"` // text encoders, and compiling the step
	First    float64    `json:"first_step_s"`
	Load     float64    `json:"load_s"`         // from nothing to the end of the first step: device_s, opened_s, prepared_s and first_step_s
	Together int        `json:"steps_together"` // how many steps follow one another without a wait between them
	Steps    []float64  `json:"steps_s"`        // the mean of those
	Step     float64    `json:"step_s"`         // median of Steps
	Least    float64    `json:"least_step_s"`
	GFLOP    float64    `json:"gflop"`  // of a step
	GFLOPS   float64    `json:"gflops"` // at the median
	Peak     float64    `json:"peak"`   // fraction of the machine's, 0 to 1
	Ops      []opFigure `json:"ops"`    // of devices that report them
}

// A run of the model has at most stepsPerRun steps. More are timed in several runs; encoding their text is not timed.
const (
	defaultSteps = 3
	stepsPerRun  = 50
)

// together is how many steps are timed as one: several where a device has a queue, in which a run's steps follow one
// another without a wait.
func (b *bench) together(steps int) int {
	if kernels.Queues(b.on) {
		return min(steps, 10)
	}
	return 1
}

// step times denoising steps. The first one is timed apart: it also reads the weights and computes what all steps
// share.
func (b *bench) step(ctx context.Context) (any, error) {
	steps := b.runs
	if steps == 0 {
		steps = defaultSteps
	}
	var f stepFigures
	var all time.Duration
	err := b.with(func(o opened, p *sdxl.Model, counted *counter) error {
		f.opened = o
		f.Together = b.together(steps)
		for done := 0; done < steps; done = len(f.Steps) * f.Together {
			// Each run's first step computes what is hoisted, and is not counted.
			if err := b.stepsOfRun(ctx, p, &f, &all, max(1, min(steps-done, stepsPerRun)/f.Together)); err != nil {
				return err
			}
		}
		sorted := slices.Sorted(slices.Values(f.Steps))
		f.Load = f.Device + f.Opened + f.Prepared + f.First
		f.Step, f.Least = sorted[len(sorted)/2], sorted[0]
		f.GFLOP = float64(counted.step) / 1e9
		f.GFLOPS = f.GFLOP / f.Step
		f.Peak = b.machine.fraction(f.GFLOPS)
		f.Ops = b.trace.figures(len(f.Steps)*f.Together, all, b.machine)
		return f.remember(b.on)
	})
	if err != nil {
		return nil, err
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "prepared in   %.3f s (text encoders, compiling the step)\n", f.Prepared)
	fmt.Fprintf(w, "first step    %.3f s, %.3f s from the start with device and model\n", f.First, f.Load)
	timed := fmt.Sprintf("median of %d", len(f.Steps))
	if f.Together > 1 {
		timed += fmt.Sprintf(" means of %d", f.Together)
	}
	fmt.Fprintf(w, "a step        %.3f ms (%s, least %.3f), %.1f GFLOP, %.1f GFLOP/s, %s of the peak\n",
		1e3*f.Step, timed, 1e3*f.Least, f.GFLOP, f.GFLOPS, percent(f.Peak))
	if len(f.Ops) > 0 {
		printOps(w, f.Ops)
	}
	return f, nil
}

// stepsOfRun takes a first step, then times the steps of one run, f.Together at a time.
func (b *bench) stepsOfRun(ctx context.Context, p *sdxl.Model, f *stepFigures, all *time.Duration, times int) error {
	steps := times * f.Together
	traced := b.trace.byOp
	b.trace.reset()
	start := time.Now()
	run, err := b.start(ctx, p, steps+1, true)
	if err != nil {
		return err
	}
	defer run.Close()
	prepared := time.Since(start)
	first, err := b.several(ctx, run, 1)
	if err != nil {
		return err
	}
	if b.trace.byOp = traced; len(f.Steps) == 0 {
		f.Prepared, f.First = prepared.Seconds(), first.Seconds()
		fmt.Fprintf(b.err, "the first step took %v\n", seconds(first))
	}
	for range times {
		spent, err := b.several(ctx, run, f.Together)
		if err != nil {
			return err
		}
		*all += spent
		f.Steps = append(f.Steps, spent.Seconds()/float64(f.Together))
		if spent > time.Second { // else there are too many to report each
			fmt.Fprintf(b.err, "a step took %v\n", seconds(spent))
		}
	}
	return nil
}
