package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// opened is a model under measurement.
type opened struct {
	Machine    machine `json:"machine"`
	Model      string  `json:"model"`
	Parameters int64   `json:"parameters"`
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Guidance   float64 `json:"guidance"`
	Opened     float64 `json:"opened_s"`
	Memory     int64   `json:"memory_bytes"` // the most that the process had resident, mapped weights included; 0 if the system doesn't tell
}

// stepFigures is bench step as JSON.
type stepFigures struct {
	opened
	Prepared float64    `json:"prepared_s"` // text encoders, and compiling the step
	First    float64    `json:"first_step_s"`
	Steps    []float64  `json:"steps_s"`
	Step     float64    `json:"step_s"` // median of Steps
	GFLOP    float64    `json:"gflop"`  // of a step
	GFLOPS   float64    `json:"gflops"` // at the median
	Peak     float64    `json:"peak"`   // share of the machine's, 0 to 1
	Ops      []opFigure `json:"ops"`
}

// stageFigure is a stage of a picture.
type stageFigure struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"s"`
	GFLOP   float64 `json:"gflop"`
	GFLOPS  float64 `json:"gflops"`
	Peak    float64 `json:"peak"`
}

// imageFigures is bench image as JSON.
type imageFigures struct {
	opened
	Steps  int           `json:"steps"`
	Stages []stageFigure `json:"stages"`
	Total  float64       `json:"total_s"` // opening included
}

// with opens the model, starts a run with guidance, and closes both after do.
func (b *bench) with(ctx context.Context, steps int, do func(o opened, run *sdxl.Run, prepared time.Duration) error) (err error) {
	r := sdxl.NewRequest("a lighthouse at dusk")
	r.Width, r.Height, r.Steps = b.width, b.height, steps
	start := time.Now()
	p, err := sdxl.Open(b.model, sdxl.Options{Device: b.on, Precision: b.precision, Variant: b.modelVariant})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	info := p.Info()
	o := opened{Machine: b.machine, Model: info.Path, Parameters: info.Parameters, Width: b.width, Height: b.height, Guidance: r.Guidance, Opened: time.Since(start).Seconds()}
	fmt.Fprintf(b.err, "%s opened in %v\n", info.Path, seconds(time.Since(start)))
	b.trace.reset()
	start = time.Now()
	run, err := p.Start(ctx, r)
	if err != nil {
		return err
	}
	defer run.Close()
	return do(o, run, time.Since(start))
}

// step times denoising steps; the first one, which also computes what is the same in all and reads the weights, apart.
func (b *bench) step(ctx context.Context) (any, error) {
	steps := b.steps
	if steps == 0 {
		steps = 3
	}
	var f stepFigures
	err := b.with(ctx, steps+1, func(o opened, run *sdxl.Run, prepared time.Duration) error {
		f.opened, f.Prepared = o, prepared.Seconds()
		first, err := b.one(ctx, run)
		if err != nil {
			return err
		}
		f.First = first.Seconds()
		b.trace.reset()
		var all time.Duration
		for len(f.Steps) < steps && run.Next() {
			spent, err := b.one(ctx, run)
			if err != nil {
				return err
			}
			all += spent
			f.Steps = append(f.Steps, spent.Seconds())
		}
		sorted := slices.Sorted(slices.Values(f.Steps))
		f.Step = sorted[len(sorted)/2]
		f.GFLOP = float64(b.trace.flops()) / 1e9 / float64(len(f.Steps))
		f.GFLOPS = f.GFLOP / f.Step
		f.Peak = b.machine.share(f.GFLOPS)
		f.Ops = b.trace.figures(len(f.Steps), all, b.machine)
		f.Memory = residentMost()
		return nil
	})
	if err != nil {
		return nil, err
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "prepared in   %.3f s (text encoders, compiling the step)\n", f.Prepared)
	fmt.Fprintf(w, "first step    %.3f s\n", f.First)
	fmt.Fprintf(w, "a step        %.3f s (median of %d), %.1f GFLOP, %.1f GFLOP/s, %s of the peak\n", f.Step, len(f.Steps), f.GFLOP, f.GFLOPS, percent(f.Peak))
	printOps(w, f.Ops)
	return f, nil
}

// one runs one step, and tells that it is done.
func (b *bench) one(ctx context.Context, run *sdxl.Run) (time.Duration, error) {
	start := time.Now()
	err := run.Step(ctx)
	spent := time.Since(start)
	if err == nil {
		fmt.Fprintf(b.err, "a step took %v\n", seconds(spent))
	}
	return spent, err
}

// image times a whole picture.
func (b *bench) image(ctx context.Context) (any, error) {
	steps := b.steps
	if steps == 0 {
		steps = 20
	}
	f := imageFigures{}
	stage := func(name string, spent time.Duration) {
		flops := b.trace.flops()
		s := stageFigure{Stage: name, Seconds: spent.Seconds(), GFLOP: float64(flops) / 1e9, GFLOPS: rate(flops, spent)}
		s.Peak = b.machine.share(s.GFLOPS)
		f.Stages = append(f.Stages, s)
		b.trace.reset()
	}
	err := b.with(ctx, steps, func(o opened, run *sdxl.Run, prepared time.Duration) error {
		f.opened = o
		stage("text", prepared)
		start := time.Now()
		for run.Next() {
			if _, err := b.one(ctx, run); err != nil {
				return err
			}
			f.Steps++
		}
		stage("steps", time.Since(start))
		start = time.Now()
		if _, err := run.Finish(ctx); err != nil {
			return err
		}
		stage("decode", time.Since(start))
		f.Memory = residentMost()
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.Total = f.Opened
	for _, s := range f.Stages {
		f.Total += s.Seconds
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "\n%-10s %10s %12s %10s %7s\n", "stage", "s", "GFLOP", "GFLOP/s", "peak")
	for _, s := range f.Stages {
		fmt.Fprintf(w, "%-10s %10.3f %12.1f %10.1f %7s\n", s.Stage, s.Seconds, s.GFLOP, s.GFLOPS, percent(s.Peak))
	}
	fmt.Fprintf(w, "%-10s %10.3f   %d steps, opening included\n", "total", f.Total, f.Steps)
	return f, nil
}

func (o opened) print(b *bench) {
	fmt.Fprintf(b.out, "%s, %dx%d, guidance %v, %s parameters\n", o.Model, o.Width, o.Height, o.Guidance, count(o.Parameters))
	fmt.Fprintf(b.out, "opened in     %.3f s\n", o.Opened)
	if o.Memory > 0 {
		fmt.Fprintf(b.out, "memory        %s resident at most\n", size(o.Memory, "B"))
	}
}

// residentMost is the most memory that the process has had resident (VmHWM of Linux); 0 if the system doesn't tell.
func residentMost() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, err := strconv.ParseInt(string(fields[0]), 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
