package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

// workerCommand is the first argument of the processes that the server starts for its cards.
const workerCommand = "engine"

// What -refiner says beside a refiner's name.
const (
	autoRefiner = "auto"
	noRefiner   = "none" // as the empty text
)

// models are the flags that say what to compute with.
type models struct {
	model, refiner, taesd, variant string
	device                         cli.DeviceFlags
}

func (m *models) register(fs *flag.FlagSet) {
	fs.StringVar(&m.model, "model", cli.Demo, "the model: demo, which is built in, a `DIR` in diffusers' layout, ORG/NAME[@REVISION] of the hub, which is downloaded once, or synth:base or synth:tiny for random weights")
	fs.StringVar(&m.refiner, "refiner", autoRefiner, "the refiner, whose weights are loaded when they are first needed: demo, which is built in, a `DIR`, synth:refiner or synth:tiny-refiner; auto is demo with -model demo, else none; with none, what needs one is answered 501")
	fs.StringVar(&m.taesd, "taesd", "", "decode by a TAESD in the VAE's place, in a tenth of the time with less detail: the `PATH` of taesdxl's folder, or of a safetensors file such as taesdxl_decoder")
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

// fetch downloads the models that are names of the hub.
func (m *models) fetch(ctx context.Context, log *slog.Logger) error {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return err
	}
	return cli.Fetch(ctx, m.device.Variant(m.variant), log, m.model, refiner)
}

// specs reads the configurations of the models that open opens.
func (m *models) specs() (s engine.Specs, err error) {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return s, err
	}
	if s.Base, err = cli.ReadSpec(m.model, nil, nil); err != nil {
		return s, err
	}
	if s.Base.Info().Refiner {
		return s, cli.Usagef("-model %s: is a refiner: must be a base model, with the refiner in -refiner", m.model)
	}
	if refiner != "" {
		if s.Refiner, err = cli.ReadSpec(refiner, s.Base, nil); err != nil {
			return s, fmt.Errorf("-refiner: %w", err)
		}
	}
	return s, nil
}

// open opens the models on a device of this process.
func (m *models) open(ctx context.Context, device kernels.Device, precision kernels.DType, log *slog.Logger) (*engine.Local, error) {
	name, err := m.chosenRefiner()
	if err != nil {
		return nil, err
	}
	host, err := sdxl.NewHost(device, log)
	if err != nil {
		return nil, err
	}
	base, err := cli.OpenModel(ctx, m.model, sdxl.Options{Host: host, Precision: precision, Variant: m.variant, TAESD: m.taesd, Log: log})
	if err != nil {
		return nil, err
	}
	var refiner *sdxl.Model
	if name != "" {
		if refiner, err = cli.OpenModel(ctx, name, sdxl.Options{Base: base}); err != nil {
			return nil, errors.Join(err, base.Close())
		}
	}
	return engine.NewLocal(ctx, base, refiner)
}

// command is the program that computes on one device.
func (m *models) command(device string, stderr io.Writer) (*exec.Cmd, error) {
	program := "/proc/self/exe" // this one, even after its file was replaced
	if runtime.GOOS != "linux" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	refiner, err := m.chosenRefiner()
	if err != nil {
		return nil, err
	}
	if refiner == "" {
		refiner = noRefiner
	}
	d := m.device
	c := exec.Command(program, workerCommand, "-model", m.model, "-refiner", refiner, "-taesd", m.taesd, "-variant", m.variant,
		"-device", device, "-precision", d.Precision, "-gpu-memory", d.GPUMemory.String())
	c.Stderr = stderr
	return c, nil
}

// start runs that program.
func (m *models) start(device string, stderr io.Writer, config process.Config) (*process.Engine, error) {
	c, err := m.command(device, stderr)
	if err != nil {
		return nil, err
	}
	return process.Start(c, config)
}

// runEngine is that program: it answers the calls of the server that started it. The server alone says when it ends.
func runEngine(args []string, stderr io.Writer) int {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	fs := flag.NewFlagSet("server "+workerCommand, flag.ContinueOnError)
	fs.SetOutput(stderr)
	var m models
	m.register(fs)
	err := cli.Parse(fs, args)
	if err == nil {
		err = m.serve(slog.New(slog.NewTextHandler(stderr, nil)).With(slog.String("device", m.device.Device)))
	}
	return cli.Exit(fs, err)
}

func (m *models) serve(log *slog.Logger) error {
	open, closeDevice := m.opener(log)
	return errors.Join(process.Serve(open), closeDevice())
}

// opener opens the device with the models; it is closed after them.
func (m *models) opener(log *slog.Logger) (open process.Open, closeDevice func() error) {
	closeDevice = func() error { return nil }
	open = func(ctx context.Context) (engine.Engine, kernels.Info, error) {
		device, precision, err := m.device.Open(func(line string) { log.Warn(line) })
		if err != nil {
			return nil, kernels.Info{}, err
		}
		closeDevice = device.Close
		e, err := m.open(ctx, device, precision, log)
		return e, device.Info(), err
	}
	return open, func() error { return closeDevice() }
}
