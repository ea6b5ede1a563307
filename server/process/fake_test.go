package process

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
)

const asProgram = "serve"

// TestMain lets this program be the other process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asProgram {
		err := Serve(os.Stdin, os.Stdout, Opener{Open: func() (Model, kernels.Info, error) {
			if os.Args[2] == "broken" {
				return nil, kernels.Info{}, errors.New("no such model")
			}
			return &fake{name: "base"}, kernels.Info{Name: "cuda:3", Precisions: []kernels.DType{kernels.F16}, Memory: 1 << 40}, nil
		}, OpenRefiner: func(base Model) (Model, error) {
			if os.Args[2] == "no refiner" {
				return nil, errors.New("no memory")
			}
			return &fake{name: "refiner of " + base.Info().Path}, nil
		}})
		fmt.Fprint(os.Stderr, "served: ", err)
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fake does what the prompt says.
type fake struct {
	name string
	lost atomic.Bool
}

func (f *fake) Info() sdxl.Info { return sdxl.Info{Path: f.name, Width: 64, Guidance: 5.5} }

func (f *fake) Cost() sdxl.Cost { return sdxl.Cost{Step: sdxl.Polynomial{float64(len(f.name)), 2, 3}} }

func (f *fake) Check(r sdxl.Request) error {
	switch r.Prompt {
	case "field":
		return &sdxl.RequestError{Field: "guidance_scale", Value: r.Guidance, Allowed: "a finite number", Err: errors.New("it is not")}
	case "odd field":
		return fmt.Errorf("wrapped: %w", &sdxl.RequestError{Field: "size", Value: sdxl.Size{Height: 1, Width: 2}, Allowed: "bigger"})
	case "image":
		if !imageToImage {
			return errors.New("image to image was not told")
		}
	}
	return nil
}

// Generate gives the request back in the warnings, and its image as the result.
func (f *fake) Generate(ctx context.Context, r sdxl.Request) (*sdxl.Result, error) {
	switch r.Prompt {
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "noise":
		fmt.Print(strings.Repeat("a library's warning\n", 20))
		<-ctx.Done()
		return nil, ctx.Err()
	case "stuck":
		time.Sleep(time.Hour)
	case "die":
		os.Exit(7)
	case "panic":
		panic("as asked")
	case "fault":
		f.lost.Store(true)
		return nil, errors.New("cuda: a kernel faulted")
	case "large":
		return nil, fmt.Errorf("step: %w: 9000.0 MiB needed", kernels.ErrMemory)
	case "limited":
		return nil, fmt.Errorf("unet: %w", &kernels.MemoryError{Needed: 9 << 30, Allowed: 8 << 30})
	case "fail":
		return nil, errors.New("only this one")
	}
	result := &sdxl.Result{Seed: r.Seed, Steps: r.Steps, Warnings: []string{f.name, describe(r)}}
	if r.Image != nil {
		b := r.Image.Bounds()
		img := image.NewNRGBA(b)
		for i := range b.Dx() * b.Dy() {
			img.Set(i%b.Dx(), i/b.Dx(), r.Image.At(i%b.Dx(), i/b.Dx()))
		}
		result.Images = []*image.NRGBA{img}
	}
	return result, nil
}

// describe is a request in full but for its image, with what pointers point to.
func describe(r sdxl.Request) string {
	negative, latents := "none", sdxl.Latents{}
	if r.Negative != nil {
		negative = strconv.Quote(*r.Negative)
	}
	if r.Latents != nil {
		latents = *r.Latents
	}
	r.Negative, r.Latents, r.Image = nil, nil, nil
	return fmt.Sprintf("%+v %s %v", r, negative, latents)
}

func (f *fake) Refine(ctx context.Context, r sdxl.Request) (*sdxl.Result, error) {
	return f.Generate(ctx, r)
}

func (f *fake) Lost() error {
	if f.lost.Load() {
		return errors.New("cuda: the card is lost")
	}
	return nil
}

func (f *fake) Close() error { return nil }
