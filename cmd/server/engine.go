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
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

// workerCommand is the first argument of the processes that the server starts for its cards.
const workerCommand = "engine"

// command is the program that computes on one device.
func (m *models) command(device string, stderr io.Writer) (*exec.Cmd, error) {
	program := "/proc/self/exe" // this one, even after its file was replaced
	if runtime.GOOS != "linux" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	args, err := m.args(device)
	if err != nil {
		return nil, err
	}
	c := exec.Command(program, append([]string{workerCommand}, args...)...)
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
