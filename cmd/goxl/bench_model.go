package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
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
	Device     float64 `json:"device_s"`     // opening the device
	Opened     float64 `json:"opened_s"`     // opening the model
	Memory     int64   `json:"memory_bytes"` // the most that the process had resident, mapped weights included; 0 if the system doesn't report it
	Pool       *pool   `json:"device_memory,omitempty"`
}

// pool is what the device had of the memory that it may take, at the end.
type pool struct {
	Limit int64 `json:"limit_bytes"`
	Used  int64 `json:"used_bytes"`
	Peak  int64 `json:"peak_bytes"`
	Arena int64 `json:"arena_bytes"`
}

// request is what step and image time.
func (b *bench) request(steps int) sdxl.Request {
	r := sdxl.Request{Prompt: "a lighthouse at dusk", Width: b.width, Height: b.height, Steps: steps, Guidance: &b.guidance, Seed: new(uint64(20250101)), IPAdapters: b.imagePrompts}
	for _, c := range b.controls {
		c.Image = stripes(b.width, b.height)
		r.Controls = append(r.Controls, c)
	}
	return r
}

// stripes is the control image of what is timed, whose content makes no difference.
func stripes(width, height int) image.Image {
	img := image.NewGray(image.Rect(0, 0, width, height))
	for i := range img.Pix {
		if i%width/16%2 == 0 {
			img.Pix[i] = 0xff
		}
	}
	return img
}

// setImagePrompt reads -ip-adapter.
func (b *bench) setImagePrompt(s string) error {
	file, scale, err := parseScaled(s)
	if err != nil {
		return err
	}
	grey := image.NewGray(image.Rect(0, 0, 512, 512))
	for i := range grey.Pix {
		grey.Pix[i] = 128
	}
	b.imagePrompts = append(b.imagePrompts, sdxl.IPAdapter{Path: file, Scale: scale, Images: []image.Image{grey}})
	return nil
}

// start starts the run that step and image time: text-to-image on a base, every step of image-to-image on a refiner,
// from a black image. With latentsOnly nothing is decoded, and no memory is planned for decoding.
func (b *bench) start(ctx context.Context, p *sdxl.Model, steps int, latentsOnly bool) (*sdxl.Run, error) {
	r := b.request(steps)
	r.LatentsOnly = latentsOnly
	if !p.Info().Refiner {
		return p.Start(ctx, r)
	}
	r.Width, r.Height, r.Image, r.Strength = 0, 0, image.NewNRGBA(image.Rect(0, 0, b.width, b.height)), 1
	return p.Start(ctx, r)
}

// with opens the model, and closes it after do. The device under it counts the operations of a step.
func (b *bench) with(do func(o opened, p *sdxl.Model, counted *counter) error) (err error) {
	counted := &counter{Device: b.on}
	start := time.Now()
	log := logTo(b.err, slog.LevelInfo)
	host, err := sdxl.NewHost(counted, log)
	if err != nil {
		return err
	}
	p, err := cli.OpenModel(context.Background(), b.model, sdxl.Options{Host: host, Precision: b.precision, Variant: b.modelVariant, Log: log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	info := p.Info()
	o := opened{Machine: b.machine, Model: info.Path, Parameters: info.Parameters, Width: b.width, Height: b.height, Guidance: *b.request(1).Guidance,
		Device: b.deviceOpened.Seconds(), Opened: time.Since(start).Seconds()}
	fmt.Fprintf(b.err, "%s opened in %v\n", info.Path, seconds(time.Since(start)))
	b.trace.reset()
	return do(o, p, counted)
}

// remember notes how much memory it took.
func (o *opened) remember(d kernels.Device) error {
	o.Memory = residentMost()
	m, err := d.Memory()
	o.Pool = &pool{m.Limit, m.Used, m.Peak, m.Arena}
	return err
}

func (o opened) print(b *bench) {
	fmt.Fprintf(b.out, "%s, %dx%d, guidance %v, %s parameters\n", o.Model, o.Width, o.Height, o.Guidance, count(o.Parameters))
	fmt.Fprintf(b.out, "opened in     %.3f s, the device in %.3f s\n", o.Opened, o.Device)
	if o.Memory > 0 {
		fmt.Fprintf(b.out, "memory        %s resident at most\n", size(o.Memory, "B"))
	}
	if o.Pool != nil {
		fmt.Fprintf(b.out, "of the device %s at most, %s at the end, of which the arena has %s; %s are allowed\n",
			size(o.Pool.Peak, "B"), size(o.Pool.Used, "B"), size(o.Pool.Arena, "B"), size(o.Pool.Limit, "B"))
	}
}

// residentMost is the most memory that the process has had resident (VmHWM of Linux); 0 if the system doesn't report
// it.
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

// counter is a device that counts the operations of the steps it compiles. Everything else is the device's own.
type counter struct {
	kernels.Device
	step int64 // floating-point operations of the last step compiled, without what is computed once a request
}

// Compile implements kernels.Device.
func (c *counter) Compile(p *kernels.Plan, w kernels.Weights, o kernels.Options) (kernels.Program, error) {
	hoisted := p.Hoisted()
	var flops int64
	step := false
	for i, n := range p.Nodes {
		if _, ok := n.Spec.(kernels.Solver); ok {
			step = true
		}
		if !hoisted[i] {
			flops += n.Spec.FLOPs(p.Inputs(n))
		}
	}
	if step {
		c.step = flops
	}
	return c.Device.Compile(p, w, o)
}

// several times steps, to the end of the last one.
func (b *bench) several(ctx context.Context, run *sdxl.Run, steps int) (time.Duration, error) {
	start := time.Now()
	for range steps {
		if !run.Next() {
			return 0, errors.New("the schedule ended early")
		}
		if err := run.Step(ctx); err != nil {
			return 0, err
		}
	}
	if _, err := run.Latents(ctx); err != nil { // waits: a device may only have queued the steps
		return 0, err
	}
	return time.Since(start), nil
}
