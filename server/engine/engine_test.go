package engine

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
)

// A job's steps take what its models take for their fractions of them.
func TestCosts(t *testing.T) {
	c := Costs{
		Base:    sdxl.Cost{Step: sdxl.Polynomial{0, 0.1}, Encode: sdxl.Polynomial{3}, Decode: sdxl.Polynomial{5}},
		Refiner: sdxl.Cost{Step: sdxl.Polynomial{0, 0.2}, Encode: sdxl.Polynomial{3}, Decode: sdxl.Polynomial{5}},
	}
	p := sdxl.Parameters{Task: sdxl.TextToImage, Width: 10, Height: 2, Images: 1, Guidance: 5} // 2 s a step of the base, 4 of the refiner
	with := func(change func(*sdxl.Parameters)) sdxl.Parameters {
		q := p
		change(&q)
		return q
	}
	hires := func(p *sdxl.Parameters) {
		p.Hires = &sdxl.HiresParameters{Width: 10, Height: 8, Steps: 7, Strength: 0.5}
	}
	for _, x := range []struct {
		job  Job
		want float64 // seconds of 10 steps
	}{
		{Job{Model: Base, Parameters: p}, 25},
		{Job{Model: Base, Parameters: with(func(p *sdxl.Parameters) { p.Steps = 50 })}, 25},
		{Job{Model: Base, Parameters: with(func(p *sdxl.Parameters) { p.DenoisingEnd = 0.75 })}, 20},
		{Job{Model: Base, Parameters: with(func(p *sdxl.Parameters) { p.Guidance = 0 })}, 15},
		{Job{Model: Refiner, Parameters: with(func(p *sdxl.Parameters) { p.Task, p.Strength = sdxl.ImageToImage, 0.5 })}, 28},
		{Job{Model: Refiner, Parameters: with(func(p *sdxl.Parameters) { p.Task, p.DenoisingStart = sdxl.ImageToImage, 0.75 })}, 18},
		// 8 s a step of the second pass, which has as many as the first or its own, and encodes and decodes its image.
		{Job{Model: Base, Parameters: with(hires), Request: sdxl.Request{Hires: &sdxl.Hires{}}}, 25 + 10*8 + 3 + 5},
		{Job{Model: Base, Parameters: with(hires), Request: sdxl.Request{Hires: &sdxl.Hires{Steps: 7}}}, 25 + 7*8 + 3 + 5},
		{Job{Model: Base, Parameters: with(hires)}, 25 + 7*8 + 3 + 5},
		{Job{Model: Base, Parameters: with(func(p *sdxl.Parameters) { hires(p); p.Hires.Scheduler = "heun" })}, 25 + 7*16 + 3 + 5},
		{Job{Model: Ensemble, DenoisingEnd: 0.75, Parameters: with(func(p *sdxl.Parameters) { p.DenoisingEnd = 0.75 })}, 30},
	} {
		if got := c.Seconds(x.job, 10); math.Abs(got-x.want) > 1e-9 {
			t.Errorf("%+v takes %v s, want %v", x.job, got, x.want)
		}
		if got := c.Steps(x.job, x.want); math.Abs(got-10) > 1e-9 {
			t.Errorf("%+v: %v steps in %v s, want 10", x.job, got, x.want)
		}
	}
	if got := (Costs{}).Steps(Job{Model: Base, Parameters: p}, 1); !math.IsInf(got, 1) {
		t.Errorf("%v steps in no time, want +Inf", got)
	}
}

// openTiny opens the tiny base on a host of its own, for the test's time.
func openTiny(t *testing.T) (*sdxl.Host, *sdxl.Model) {
	t.Helper()
	device, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { device.Close() })
	host, err := sdxl.NewHost(device, nil)
	if err != nil {
		t.Fatal(err)
	}
	base, err := sdxl.Open(t.Context(), "synth:tiny", sdxl.Options{Host: host})
	if err != nil {
		t.Fatal(err)
	}
	return host, base
}

// An engine of this process computes what the models do, and an ensemble of both.
func TestLocal(t *testing.T) {
	_, base := openTiny(t)
	refiner, err := sdxl.Open(t.Context(), "synth:tiny-refiner", sdxl.Options{Base: base})
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLocal(t.Context(), base, refiner)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	specs := Specs{base.Spec(), refiner.Spec()}
	for _, j := range []Job{{Model: Base}, {Model: Refiner}, {Model: Ensemble, DenoisingEnd: 0.6}} {
		j.Request = sdxl.Request{Prompt: "a cat", Width: 64, Height: 64, Steps: 5, Seed: new(uint64(1)), Strength: 0.4}
		if j.Model == Refiner {
			j.Request.Image = sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 64}}
		}
		want, err := specs.Resolve(j)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l.Generate(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		if p := got.Parameters; p.Seed != 1 || p.Steps != want.Steps || p.Task != want.Task || len(p.Experts) != len(want.Experts) || len(got.Images) != 1 || p.Device != "cpu" {
			t.Errorf("%s: %+v, want %+v", j.Model, p, want)
		}
	}
	if l.DeviceName() != "cpu" || l.Lost() != nil || !(l.Costs().Base.Step.At(4096) > 0 && l.Costs().Refiner.Step.At(4096) > 0) {
		t.Errorf("%s, %+v", l.DeviceName(), l.Costs())
	}
	if _, err := l.Generate(t.Context(), Job{Model: "other"}); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Generate(ctx, Job{Model: Base}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
