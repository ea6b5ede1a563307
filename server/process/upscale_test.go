package process

import (
	"context"
	"errors"
	"image"
	"slices"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

const upscalerFile = "../../models/esrgan/testdata/compact3.pth"

// upscaled does a job that enlarges an image, on a host of its own.
func upscaled(ctx context.Context, j engine.Job) (_ *sdxl.Result, err error) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	h, err := sdxl.NewHost(dev, nil)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	defer func() { err = errors.Join(err, h.CloseUpscaler(), dev.Close()) }()
	r := j.Request
	return h.Upscale(ctx, sdxl.UpscaleRequest{Upscaling: *j.Upscale, Image: r.Image, Progress: r.Progress, Stop: r.Stop, OnComputed: r.OnComputed})
}

// TestUpscale: an image is enlarged at the other end as it is here, and the tiles are heard of.
func TestUpscale(t *testing.T) {
	e, stderr := launch(t, "")
	defer stop(t, e, stderr)
	img := image.NewNRGBA(image.Rect(0, 0, 40, 30))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * 7 % 251)
	}
	steps := 0
	j := engine.Job{Model: engine.Base, Upscale: &sdxl.Upscaling{Upscaler: upscalerFile, Second: "nearest", SecondVisibility: 0.25, Width: 100, Height: 80, Resize: sdxl.ResizeStretch, Tile: 32}}
	j.Request = sdxl.Request{Image: img, Progress: func(sdxl.Progress) { steps++ }}
	want, err := upscaled(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	alone := steps
	got, err := e.Generate(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if alone == 0 || steps != 2*alone || got.Parameters.String() != want.Parameters.String() || !slices.Equal(got.Images[0].Pix, want.Images[0].Pix) {
		t.Errorf("%d of %d tiles, %v, want %v", steps-alone, alone, got.Parameters, want.Parameters)
	}
	j.Upscale = &sdxl.Upscaling{Upscaler: "none.pth"}
	var bad *sdxl.RequestError
	if _, err := e.Generate(t.Context(), j); !errors.As(err, &bad) || bad.Field != "upscaler" {
		t.Errorf("no such file is %v", err)
	}
}

// TestPatienceOfUpscaler: the time of all tiles counts, and the first use has more.
func TestPatienceOfUpscaler(t *testing.T) {
	e := &Engine{peer: &peer{costs: engine.Costs{FLOPS: 1e9}}, config: Config{StallTimeout: time.Minute, first: time.Hour}, used: map[part]bool{}}
	j := engine.Job{Name: "a", Model: engine.Base, Upscale: &sdxl.Upscaling{Upscaler: upscalerFile}, Parameters: sdxl.Parameters{Upscale: &sdxl.UpscaleParameters{FLOPs: 3e11}}}
	if p := e.patience(j); p != (patience{first: time.Hour, step: 6 * time.Minute}) {
		t.Errorf("%+v before the first use", p)
	}
	e.noteUse(j)
	if p := e.patience(j); p.first != 0 {
		t.Errorf("%v more for the second use", p.first)
	}
}
