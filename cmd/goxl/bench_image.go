package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

// stageFigure is a stage of an image.
type stageFigure struct {
	Stage   string  `json:"stage"` // text, steps, decode, png
	Seconds float64 `json:"s"`
	GFLOP   float64 `json:"gflop"` // 0 where the device doesn't report it
	GFLOPS  float64 `json:"gflops"`
	Peak    float64 `json:"peak"`
}

// imageFigures is bench image as JSON.
type imageFigures struct {
	opened
	Steps  int           `json:"steps"`
	First  float64       `json:"first_s"`  // the first image, for which weights are read and programs compiled
	Images []float64     `json:"images_s"` // the ones after it, from the request to the bytes of a PNG file
	Image  float64       `json:"image_s"`  // median of Images; First if there are none
	Stages []stageFigure `json:"stages"`   // of that image
	PNG    int           `json:"png_bytes"`
	Total  float64       `json:"total_s"` // opening device and model, and the first image
}

const defaultImageSteps = 30

// timedImage is one image.
type timedImage struct {
	stages []stageFigure
	total  float64
	steps  int
	png    int
}

// image times whole images: the first, which includes loading, and those after it.
func (b *bench) image(ctx context.Context) (any, error) {
	steps, runs := b.steps, max(b.runs, 1)
	if steps == 0 {
		steps = defaultImageSteps
	}
	f := imageFigures{Images: []float64{}}
	err := b.with(func(o opened, p *sdxl.Model, counted *counter) error {
		f.opened = o
		var list []timedImage
		for range runs {
			one, err := b.draw(ctx, p, steps, counted)
			if err != nil {
				return err
			}
			fmt.Fprintf(b.err, "an image took %.3f s\n", one.total)
			list = append(list, one)
		}
		f.First = list[0].total
		if len(list) > 1 {
			list = list[1:]
			for _, one := range list {
				f.Images = append(f.Images, one.total)
			}
			slices.SortFunc(list, func(a, b timedImage) int { return cmp.Compare(a.total, b.total) })
		}
		median := list[len(list)/2]
		f.Image, f.Stages, f.Steps, f.PNG = median.total, median.stages, median.steps, median.png
		f.Total = f.Device + f.Opened + f.First
		return f.remember(b.on)
	})
	if err != nil {
		return nil, err
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "\n%-10s %10s %12s %10s %7s\n", "stage", "s", "GFLOP", "GFLOP/s", "peak")
	for _, s := range f.Stages {
		fmt.Fprintf(w, "%-10s %10.3f %12.1f %10.1f %7s\n", s.Stage, s.Seconds, s.GFLOP, s.GFLOPS, percent(s.Peak))
	}
	fmt.Fprintf(w, "%-10s %10.3f   %d steps, %d bytes of PNG, median of %d after the first\n", "image", f.Image, f.Steps, f.PNG, len(f.Images))
	fmt.Fprintf(w, "%-10s %10.3f   %.3f s with opening\n", "first", f.First, f.Total)
	return f, nil
}

// draw makes one image, from the request to the bytes of a file.
func (b *bench) draw(ctx context.Context, p *sdxl.Model, steps int, counted *counter) (d timedImage, err error) {
	begin := time.Now()
	start := begin
	stage := func(name string, flops int64) {
		spent := time.Since(start)
		s := stageFigure{Stage: name, Seconds: spent.Seconds(), GFLOP: float64(flops) / 1e9, GFLOPS: rate(flops, spent)}
		s.Peak = b.machine.fraction(s.GFLOPS)
		d.stages = append(d.stages, s)
		b.trace.reset()
		start = time.Now()
	}
	b.trace.reset()
	run, err := b.start(ctx, p, steps, false)
	if err != nil {
		return d, err
	}
	defer run.Close()
	stage("text", b.trace.flops())
	for run.Next() {
		if err := run.Step(ctx); err != nil {
			return d, err
		}
		d.steps++
	}
	if _, err := run.Latents(ctx); err != nil { // waits for the last step
		return d, err
	}
	stage("steps", int64(d.steps)*counted.step)
	result, err := run.Finish(ctx)
	if err != nil {
		return d, err
	}
	stage("decode", b.trace.flops())
	data, err := imagefile.Encode(result.Images[0], nil)
	if err != nil {
		return d, err
	}
	stage("png", 0)
	d.png, d.total = len(data), time.Since(begin).Seconds()
	return d, nil
}
