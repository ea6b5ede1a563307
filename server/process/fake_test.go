package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

const asProgram = "serve"

// TestMain lets this program be the other process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asProgram {
		err := Serve(func(ctx context.Context) (engine.Engine, kernels.Info, error) {
			switch os.Args[2] {
			case "broken":
				return nil, kernels.Info{}, errors.New("no such model")
			case "slow to open":
				<-ctx.Done()
				return nil, kernels.Info{}, ctx.Err()
			}
			if os.Args[2] == "tiny" {
				e, err := openTiny(ctx)
				return e, device, err
			}
			return &fake{step: os.Args[2]}, device, nil
		})
		fmt.Fprint(os.Stderr, "served: ", err)
		if err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// device is the program's.
var device = kernels.Info{Name: "cuda:3", Precisions: []kernels.DType{kernels.F16}, Memory: 1 << 40}

// fake does what the prompt says.
type fake struct {
	step string // seconds of each step; "" is a step that takes an hour
	lost atomic.Bool

	asked  atomic.Int64
	loaded atomic.Bool // the model b
}

// Models are a, which is ready, and b, which a job with the prompt load loads.
func (f *fake) Models() []engine.ModelStatus {
	list := []engine.ModelStatus{{Name: "a", State: engine.Ready}, {Name: "b", State: engine.Loading, Percent: 37.5}}
	if f.loaded.Load() {
		list[1] = engine.ModelStatus{Name: "b", State: engine.Ready}
	}
	return list
}

func (f *fake) Costs() engine.Costs {
	step := 3600.0
	if f.step != "" {
		step, _ = strconv.ParseFloat(f.step, 64)
	}
	c := engine.Costs{Base: sdxl.Cost{Step: sdxl.Polynomial{step}}, Refiner: sdxl.Cost{Step: sdxl.Polynomial{step, 2, 1. / 3}}}
	if f.loaded.Load() {
		c.Models = map[string]engine.Costs{"b": {Base: c.Base}}
	}
	return c
}

// Usage counts how often it was asked.
func (f *fake) Usage() (engine.Usage, bool) {
	return engine.Usage{Memory: kernels.Memory{Limit: 1 << 40, Used: 1 << 30}, Evictions: uint64(f.asked.Add(1))}, true
}

func (f *fake) DeviceName() string { return device.Name }

// Generate gives the job back in the warnings, and its image as the result.
func (f *fake) Generate(ctx context.Context, j engine.Job) (*sdxl.Result, error) {
	if j.Upscale != nil {
		return upscaled(ctx, j)
	}
	r := j.Request
	switch r.Prompt {
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	case "until stopped":
		r.Progress(sdxl.Progress{Step: 1, Steps: 2})
		select {
		case <-r.Stop:
			j.Parameters.Interrupted = &sdxl.Interruption{StepsDone: 1, Steps: 2}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case "noise":
		fmt.Print(strings.Repeat("a library's warning\n", 20))
	case "garbage":
		_, _ = os.NewFile(4, "answers").Write([]byte(strings.Repeat("a library's warning\n", 20)))
		time.Sleep(time.Hour) // its context ends with its input
	case "half": // of an answer
		_, _ = os.NewFile(4, "answers").Write([]byte(frame(`{"Result":{"Pixels":[{"Type":"*image.NRGBA","Rect":{"Max":{"X":512,"Y":512}},"Stride":2048,"Bytes":1048576}]}}`, "half")))
		time.Sleep(time.Hour)
	case "slow":
		for i := range r.Steps {
			time.Sleep(200 * time.Millisecond)
			r.Progress(sdxl.Progress{Step: i + 1, Steps: r.Steps})
		}
	case "steps":
		for i := range r.Steps {
			r.Progress(sdxl.Progress{Step: i + 1, Steps: r.Steps, Elapsed: time.Duration(i), Left: time.Hour})
			if r.Preview != nil && (i+1)%r.Preview.Every == 0 {
				r.Preview.Func(i+1, []*image.NRGBA{image.NewNRGBA(image.Rect(0, 0, i, 3)), image.NewNRGBA(image.Rect(0, 0, 2, i+1))})
			}
		}
	case "pause":
		time.Sleep(900 * time.Millisecond)
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
	case "load":
		j.OnLoading(12.5)
		j.OnLoading(37.5)
		<-ctx.Done()
		f.loaded.Store(true)
		return nil, ctx.Err()
	case "unloadable":
		return nil, fmt.Errorf("wrapped: %w", &engine.LoadError{Model: "b", Err: errors.New("unet: no such file")})
	case "too large to load":
		return nil, &engine.LoadError{Model: "b", Err: fmt.Errorf("unet: %w", kernels.ErrMemory)}
	case "fail":
		return nil, errors.New("only this one")
	case "field":
		return nil, &sdxl.RequestError{Field: "guidance_scale", Value: math.NaN(), Allowed: "a finite number", Err: errors.New("it is not")}
	case "number":
		return nil, &sdxl.RequestError{Field: "seed", Value: uint64(math.MaxUint64), Allowed: "smaller"}
	case "odd field":
		return nil, fmt.Errorf("wrapped: %w", &sdxl.RequestError{Field: "size", Value: sdxl.Size{Height: 1, Width: 2}, Allowed: "bigger"})
	case "nothing":
		return nil, nil
	case "odd pixels":
		return &sdxl.Result{Images: []*image.NRGBA{{Rect: image.Rect(0, 0, 64, 64)}}}, nil
	case "odd result":
		return &sdxl.Result{Parameters: sdxl.Parameters{Guidance: math.Inf(1)}}, nil
	}
	if r.Prompt == "computed" {
		r.OnComputed()
	}
	r.Progress, r.OnComputed, r.Preview = nil, nil, nil
	j.Request.OnComputed, j.Request.Preview = nil, nil
	result := &sdxl.Result{Steps: 50, Warnings: []string{describe(j)}, Parameters: j.Parameters, Latents: r.Latents}
	if r.Image != nil {
		b := r.Image.Bounds()
		img := image.NewNRGBA(b)
		for i := range b.Dx() * b.Dy() {
			x, y := b.Min.X+i%b.Dx(), b.Min.Y+i/b.Dx()
			img.Set(x, y, r.Image.At(x, y))
		}
		result.Images = []*image.NRGBA{img}
	}
	return result, nil
}

// describe is a job in full but for its image, with what pointers point to.
func describe(j engine.Job) string {
	r := j.Request
	text := fmt.Sprintf("%s %s %v %+v", j.Name, j.Model, j.DenoisingEnd, j.Parameters)
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		switch {
		case name == "Image" || name == "Progress" || name == "OnComputed" || name == "Preview" || name == "Stop" || name == "Taps":
			continue
		case name == "Prompts":
			prompts, _ := json.Marshal(r.Prompts)
			field = reflect.ValueOf(string(prompts))
		case name == "TextualInversions":
			inversions, _ := json.Marshal(r.TextualInversions)
			field = reflect.ValueOf(string(inversions))
		case field.Kind() == reflect.Pointer && !field.IsNil():
			field = field.Elem()
		}
		text += fmt.Sprintf(" %s:%#v", name, field)
	}
	return text
}

func (f *fake) Lost() error {
	if f.lost.Load() {
		return errors.New("cuda: the card is lost")
	}
	return nil
}

func (f *fake) Close() error { return nil }
