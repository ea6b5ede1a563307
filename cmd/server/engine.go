package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/process"
)

// workerCommand is the first argument of the processes that the server starts for its cards.
const workerCommand = "engine"

// sustained is the share of a device's peak that limits reckon with. Steps of the full-size model keep up 85 % of it on
// a CPU, and 43 to 53 % on an H100 (kernels/cuda/HARDWARE.md); what else takes time is in the rest.
const sustained = 0.4

// local is a model on a device of this process.
type local struct {
	*sdxl.Model
	device kernels.Device
	cost   sdxl.Cost
}

// newLocal measures the device's peak, where it can be measured and was not before, for the cost.
func newLocal(p *sdxl.Model, device kernels.Device) (local, error) {
	l := local{Model: p, device: device}
	peak, err := device.PeakFLOPS(context.Background())
	if err == nil && peak > 0 {
		l.cost, err = p.Cost(sustained * peak)
	}
	if err != nil {
		return local{}, errors.Join(err, p.Close())
	}
	return l, nil
}

// Check tells whether a request can be done.
func (l local) Check(r sdxl.Request) error {
	_, err := l.Resolve(r)
	return err
}

// Cost implements server.Engine.
func (l local) Cost() sdxl.Cost { return l.cost }

// Lost is the device's.
func (l local) Lost() error { return l.device.Lost() }

// DeviceName implements server.Engine.
func (l local) DeviceName() string { return l.device.Info().Name }

// What -refiner says beside a refiner's name.
const (
	autoRefiner = "auto"
	noRefiner   = "none" // as the empty text
)

// models are the flags that say what to compute with.
type models struct {
	model, refiner, variant string
	device                  cli.DeviceFlags
}

func (m *models) register(fs *flag.FlagSet) {
	fs.StringVar(&m.model, "model", cli.Demo, "the model: demo, which is built in, a `DIR` in diffusers' layout, or synth:base or synth:tiny for made-up weights")
	fs.StringVar(&m.refiner, "refiner", autoRefiner, "the refiner, loaded when it is first needed: demo, which is built in, a `DIR`, synth:refiner or synth:tiny-refiner; auto is demo with -model demo, else none; with none /refine answers 501")
	fs.StringVar(&m.variant, "variant", "", "`name` of the weight files, for instance fp16; without it, what suits the precision")
	m.device.Several = true
	m.device.Register(fs)
}

// chosenRefiner is the name of the refiner, "" for none.
func (m *models) chosenRefiner() (string, error) {
	switch {
	case m.refiner == "" || m.refiner == noRefiner || m.refiner == autoRefiner && m.model != cli.Demo:
		return "", nil
	case m.refiner == autoRefiner:
		return cli.Demo, nil
	case m.refiner == cli.Demo && m.model != cli.Demo:
		return "", cli.Usagef("-refiner demo: belongs to -model demo, not to %s", m.model)
	}
	return m.refiner, nil
}

func (m *models) open(device kernels.Device, precision kernels.DType, log *slog.Logger) (local, error) {
	host, err := sdxl.NewHost(device, log)
	if err != nil {
		return local{}, err
	}
	p, err := cli.OpenModel(context.Background(), m.model, sdxl.Options{Host: host, Precision: precision, Variant: m.variant, Log: log})
	if err != nil {
		return local{}, err
	}
	return newLocal(p, device)
}

func openRefiner(base local, name string) (local, error) {
	p, err := cli.OpenModel(context.Background(), name, sdxl.Options{Base: base.Model})
	if err != nil {
		return local{}, err
	}
	return newLocal(p, base.device)
}

// command is the program that computes on one device.
func (m *models) command(device, refiner string, stderr io.Writer) (*exec.Cmd, error) {
	program := "/proc/self/exe" // this one, even after its file was replaced
	if runtime.GOOS != "linux" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	d := m.device
	c := exec.Command(program, workerCommand, "-model", m.model, "-refiner", refiner, "-variant", m.variant,
		"-device", device, "-precision", d.Precision, "-gpu-memory", d.GPUMemory.String())
	c.Stderr = stderr
	return c, nil
}

// start runs that program.
func (m *models) start(device, refiner string, stderr io.Writer) (*process.Engine, error) {
	c, err := m.command(device, refiner, stderr)
	if err != nil {
		return nil, err
	}
	return process.Start(c)
}

// runEngine is that program: it answers the calls of the server that started it. The server alone says when it ends.
func runEngine(args []string, in io.Reader, out, stderr io.Writer) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	fs := flag.NewFlagSet("server "+workerCommand, flag.ContinueOnError)
	fs.SetOutput(stderr)
	var m models
	m.register(fs)
	err := cli.Parse(fs, args)
	if err == nil {
		err = m.serve(in, out, slog.New(slog.NewTextHandler(stderr, nil)).With(slog.String("device", m.device.Device)))
	}
	return cli.Exit(fs, err)
}

func (m *models) serve(in io.Reader, out io.Writer, log *slog.Logger) error {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return err
	}
	opener, closeDevice := m.opener(refiner, log)
	return errors.Join(process.Serve(in, out, opener), closeDevice())
}

// opener opens the device with the base; it is closed after that.
func (m *models) opener(refiner string, log *slog.Logger) (o process.Opener, closeDevice func() error) {
	closeDevice = func() error { return nil }
	o.Open = func() (process.Model, kernels.Info, error) {
		device, precision, err := m.device.Open(func(line string) { log.Warn(line) })
		if err != nil {
			return nil, kernels.Info{}, err
		}
		closeDevice = device.Close
		base, err := m.open(device, precision, log)
		return base, device.Info(), err
	}
	if refiner != "" {
		o.OpenRefiner = func(base process.Model) (process.Model, error) { return openRefiner(base.(local), refiner) }
	}
	return o, func() error { return closeDevice() }
}
