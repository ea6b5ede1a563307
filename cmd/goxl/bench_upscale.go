package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"
	"strings"
	"time"

	"github.com/goxl/goxl/models/sdxl"
)

// upscaleFigures is bench upscale as JSON.
type upscaleFigures struct {
	Machine  machine   `json:"machine"`
	Model    string    `json:"model"`
	Network  string    `json:"network"`
	Width    int       `json:"width"`
	Height   int       `json:"height"`
	Tiles    int       `json:"tiles"`
	Opened   float64   `json:"opened_s"`
	First    float64   `json:"first_s"`
	Upscales []float64 `json:"upscales_s"` // from the image's pixels to those of the large one
	Upscale  float64   `json:"upscale_s"`  // median of Upscales
	GFLOP    float64   `json:"gflop"`
	GFLOPS   float64   `json:"gflops"`
	Peak     float64   `json:"peak"`
}

const defaultUpscales = 3

// upscale times an image that is enlarged whole, and in tiles where it is large.
func (b *bench) upscale(ctx context.Context) (_ any, err error) {
	f := upscaleFigures{Machine: b.machine, Model: b.model, Width: b.width, Height: b.height}
	if slices.Contains(sdxl.SyntheticNames(), strings.TrimPrefix(b.model, "synth:")) { // the flag's default, which is of the other measurements
		f.Model = "synth:esrgan"
	}
	start := time.Now()
	model, err := (&upscaling{model: f.Model}).open(b.on, b.precision)
	if err != nil {
		return nil, fmt.Errorf("-model: %w", err)
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	f.Opened, f.Network = time.Since(start).Seconds(), model.Config.String()
	img := image.NewNRGBA(image.Rect(0, 0, b.width, b.height))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * 7 % 251) // a pattern
	}
	runs := b.runs
	if runs == 0 {
		runs = defaultUpscales
	}
	for i := range runs + 1 {
		start := time.Now()
		if _, err := model.Upscale(ctx, img, func(_, tiles int) { f.Tiles = tiles }); err != nil {
			return nil, err
		}
		took := time.Since(start).Seconds()
		fmt.Fprintf(b.err, "an image took %.3f s\n", took)
		if i == 0 {
			f.First = took
			continue
		}
		f.Upscales = append(f.Upscales, took)
	}
	sorted := slices.Sorted(slices.Values(f.Upscales))
	f.Upscale = sorted[len(sorted)/2]
	f.GFLOP = float64(model.Config.FLOPs(int64(b.width)*int64(b.height))) / 1e9
	f.GFLOPS = f.GFLOP / f.Upscale
	f.Peak = b.machine.fraction(f.GFLOPS)
	fmt.Fprintf(b.out, "%s, %d×%d pixels in %d tiles: %.3f s, the first %.3f s; %.0f GFLOP, %.0f GFLOP/s, %s of the peak\n",
		f.Network, f.Width, f.Height, f.Tiles, f.Upscale, f.First, f.GFLOP, f.GFLOPS, percent(f.Peak))
	return f, nil
}
