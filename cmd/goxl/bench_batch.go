package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// batchFigure is requests that were computed together, in batches of a number.
type batchFigure struct {
	Size    int     `json:"size"` // pixels, both ways
	Jobs    int     `json:"jobs"`
	Seconds float64 `json:"image_s"` // for each image
	Rate    float64 `json:"images_per_s"`
	Speedup float64 `json:"speedup"` // over a request alone
	// Equal is how many of the images are bit for bit those of the requests alone, Differs the largest difference of a
	// value of a pixel, of 255.
	Equal   int `json:"equal"`
	Differs int `json:"largest_difference"`
}

// batchFigures are bench batch as JSON.
type batchFigures struct {
	opened
	Steps   int           `json:"steps"`
	Batches []batchFigure `json:"batches"`
}

const defaultBatch = 8

// batch times whole images of requests that share their steps, with prompts and seeds of their own, and compares them with
// those of the requests alone.
func (b *bench) batch(ctx context.Context) (any, error) {
	f := batchFigures{Steps: b.steps}
	if f.Steps == 0 {
		f.Steps = defaultImageSteps
	}
	b.width = slices.Max(b.sizes)
	b.height = b.width
	err := b.with(func(o opened, p *sdxl.Model, _ *counter) error {
		if p.Info().Refiner {
			return cli.Usagef("-model %s: is a refiner: must be a base for batch", b.model)
		}
		f.opened = o
		for _, size := range b.sizes {
			if err := f.measure(ctx, b, p, size); err != nil {
				return err
			}
		}
		return f.remember(b.on)
	})
	if err != nil {
		return nil, err
	}
	w := b.out
	f.opened.print(b)
	fmt.Fprintf(w, "\n%-10s %5s %10s %10s %8s   %s\n", "size", "jobs", "image s", "images/s", "speedup", "against the same alone")
	for _, one := range f.Batches {
		same := fmt.Sprintf("%d of %d equal bit for bit", one.Equal, b.largest)
		if one.Differs > 0 {
			same += fmt.Sprintf(", values differ by %d of 255 at most", one.Differs)
		}
		fmt.Fprintf(w, "%-10s %5d %10.4f %10.3f %8.3f   %s\n", fmt.Sprintf("%d×%d", one.Size, one.Size), one.Jobs, one.Seconds, one.Rate, one.Speedup, same)
	}
	return f, nil
}

// measure makes the same images alone and in batches of 2, 4 and so on.
func (f *batchFigures) measure(ctx context.Context, b *bench, p *sdxl.Model, size int) error {
	var alone []*sdxl.Result
	var secondsAlone float64
	for n := 1; ; n = min(2*n, b.largest) {
		if _, _, err := together(ctx, b, p, size, 2, n, n); err != nil { // reads weights, compiles programs
			return err
		}
		spent, results, err := together(ctx, b, p, size, f.Steps, b.largest, n)
		if err != nil {
			return err
		}
		if n == 1 {
			alone, secondsAlone = results, spent.Seconds()
		}
		one := batchFigure{Size: size, Jobs: n, Seconds: spent.Seconds() / float64(b.largest)}
		one.Rate, one.Speedup = 1/one.Seconds, secondsAlone/spent.Seconds()
		for i, r := range results {
			differs := 0
			for k, v := range r.Images[0].Pix {
				d := int(v) - int(alone[i].Images[0].Pix[k])
				differs = max(differs, d, -d)
			}
			if one.Differs = max(one.Differs, differs); differs == 0 {
				one.Equal++
			}
		}
		f.Batches = append(f.Batches, one)
		fmt.Fprintf(b.err, "%d×%d: an image took %.4f s in batches of %d\n", size, size, one.Seconds, n)
		if n == b.largest {
			return nil
		}
	}
}

// together makes so many images in batches of n, the last one of what is left.
func together(ctx context.Context, b *bench, p *sdxl.Model, size, steps, images, n int) (spent time.Duration, results []*sdxl.Result, err error) {
	results = make([]*sdxl.Result, images)
	start := time.Now()
	for from := 0; from < images; from += n {
		var batch []sdxl.BatchRequest
		for i := from; i < min(from+n, images); i++ {
			r := b.request(steps)
			r.Prompt, r.Seed, r.Width, r.Height = fmt.Sprint(r.Prompt, ", number ", i), new(uint64(i)), size, size
			batch = append(batch, sdxl.BatchRequest{Context: ctx, Request: r, Done: func(result *sdxl.Result, failed error) {
				results[i], err = result, errors.Join(err, failed)
			}})
		}
		if p.GenerateBatch(batch); err != nil {
			return 0, nil, err
		}
	}
	return time.Since(start), results, nil
}
