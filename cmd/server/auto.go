package main

import (
	"context"
	"log/slog"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/server/engine"
)

// withFallback loads what auto means: the card, or, if the first attempt shows that it can't be opened or computes
// wrongly, the CPU from then on. warn is called with that attempt's error.
func withFallback(card, cpu func(i int) (engine.Engine, error), warn func(err error)) func(i int) (engine.Engine, error) {
	var mu sync.Mutex
	load := card
	tried := false
	return func(i int) (engine.Engine, error) {
		mu.Lock()
		defer mu.Unlock()
		e, err := load(i)
		if err != nil && !tried {
			warn(err)
			load = cpu
			e, err = load(i)
		}
		tried = true
		return e, err
	}
}

// cpu is the CPU with the models on it, in this process; opened when it is first needed.
type cpu struct {
	models
	log       *slog.Logger
	device    kernels.Device
	precision kernels.DType
}

func (c *cpu) open() (kernels.Info, error) {
	if c.device == nil {
		flags := c.models.device
		flags.Device, flags.GPUMemory = "cpu", 0
		var err error
		if c.device, c.precision, err = flags.Open(nil); err != nil {
			return kernels.Info{}, err
		}
	}
	return c.device.Info(), nil
}

func (c *cpu) load(int) (engine.Engine, error) {
	if _, err := c.open(); err != nil {
		return nil, err
	}
	return asEngine(c.models.open(context.Background(), c.device, c.precision, c.log))
}

// Close closes the device, if it was opened; the models are closed before.
func (c *cpu) Close() error {
	if c.device == nil {
		return nil
	}
	return c.device.Close()
}
