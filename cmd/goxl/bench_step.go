package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// stepFigures is bench step as JSON.
type stepFigures struct {
	opened
	Prepared float64    `json:"prepared_s"` // text encoders, and compiling the step
	First    float64    `json:"first_step_s"`
	Load     float64    `json:"load_s"` // from nothing to the end of the first step: device_s, opened_s, prepared_s and first_step_s
	Steps    []float64  `json:"steps_s"`
	Step     float64    `json:"step_s"` // median of Steps
	Least    float64    `json:"least_step_s"`
	GFLOP    float64    `json:"gflop"`  // of a step
	GFLOPS   float64    `json:"gflops"` // at the median
	Peak     float64    `json:"peak"`   // share of the machine's, 0 to 1
	Ops      []opFigure `json:"ops"`    // of devices that tell
}

// A run of the model has at most stepsPerRun steps; more are timed in several, whose text is encoded outside of the times.
const (
	defaultSteps = 3
	stepsPerRun  = 50
)

// step times denoising steps; the first one, which also computes what is the same in all and reads the weights, apart.
func (b *bench) step(ctx context.Context) (any, error) {
	steps := b.runs
	if steps == 0 {
		steps = defaultSteps
	}
	var f stepFigures
	var all time.Duration
	err := b.with(func(o opened, p *sdxl.Pipeline, counted *counter) error {
		f.opened = o
		for len(f.Steps) < steps {
			// Each run's first step computes what is hoisted, and is not counted.
			if err := b.stepsOfRun(ctx, p, &f, &all, min(steps-len(f.Steps), stepsPerRun)); err != nil {
				return err
			}
		}
		sorted := slices.Sorted(slices.Values(f.Steps))
		f.Load = f.Device + f.Opened + f.Prepared + f.First
		f.Step, f.Least = sorted[len(sorted)/2], sorted[0]
		f.GFLOP = float64(counted.step) / 1e9
		f.GFLOPS = f.GFLOP / f.Step
		f.Peak = b.machine.share(f.GFLOPS)
		f.Ops = b.trace.figures(len(f.Steps), all, b.machine)
		return f.remember(b.on)
	})
	if err != nil {
		return nil, err
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "prepared in   %.3f s (text encoders, compiling the step)\n", f.Prepared)
	fmt.Fprintf(w, "first step    %.3f s, %.3f s from the start with device and model\n", f.First, f.Load)
	fmt.Fprintf(w, "a step        %.3f ms (median of %d, least %.3f), %.1f GFLOP, %.1f GFLOP/s, %s of the peak\n",
		1e3*f.Step, len(f.Steps), 1e3*f.Least, f.GFLOP, f.GFLOPS, percent(f.Peak))
	if len(f.Ops) > 0 {
		printOps(w, f.Ops)
	}
	return f, nil
}

// stepsOfRun times so many steps after a first one.
func (b *bench) stepsOfRun(ctx context.Context, p *sdxl.Pipeline, f *stepFigures, all *time.Duration, steps int) error {
	traced := b.trace.byOp
	b.trace.reset()
	start := time.Now()
	run, err := p.Start(ctx, b.request(steps+1))
	if err != nil {
		return err
	}
	defer run.Close()
	prepared := time.Since(start)
	first, err := b.one(ctx, run)
	if err != nil {
		return err
	}
	if b.trace.byOp = traced; len(f.Steps) == 0 {
		f.Prepared, f.First = prepared.Seconds(), first.Seconds()
		fmt.Fprintf(b.err, "the first step took %v\n", seconds(first))
	}
	for range steps {
		if !run.Next() {
			return fmt.Errorf("the schedule of %d steps ended early", steps+1)
		}
		spent, err := b.one(ctx, run)
		if err != nil {
			return err
		}
		*all += spent
		f.Steps = append(f.Steps, spent.Seconds())
		if spent > time.Second { // else there are too many to tell of each
			fmt.Fprintf(b.err, "a step took %v\n", seconds(spent))
		}
	}
	return nil
}
