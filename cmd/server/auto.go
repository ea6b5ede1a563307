package main

import (
	"log/slog"
	"sync"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/server"
)

// orElse loads what auto means: the card, or, where the first attempt shows that it can't be opened or computes wrongly, the processor from then on. told is given why.
func orElse(card, processor func(i int) (server.Engine, error), told func(err error)) func(i int) (server.Engine, error) {
	var mu sync.Mutex
	load := card
	tried := false
	return func(i int) (server.Engine, error) {
		mu.Lock()
		defer mu.Unlock()
		e, err := load(i)
		if err != nil && !tried {
			told(err)
			load = processor
			e, err = load(i)
		}
		tried = true
		return e, err
	}
}

// processor is the cpu with the base on it, in this process; opened when it is first needed.
type processor struct {
	models
	log       *slog.Logger
	device    kernels.Device
	precision kernels.DType
}

func (p *processor) open() (kernels.Info, error) {
	if p.device == nil {
		flags := p.models.device
		flags.Device, flags.GPUMemory = "cpu", 0
		var err error
		if p.device, p.precision, err = flags.Open(nil); err != nil {
			return kernels.Info{}, err
		}
	}
	return p.device.Info(), nil
}

func (p *processor) load(int) (server.Engine, error) {
	if _, err := p.open(); err != nil {
		return nil, err
	}
	return asEngine(p.models.open(p.device, p.precision, p.log))
}

// Close closes the device, if it was opened; the models are closed before.
func (p *processor) Close() error {
	if p.device == nil {
		return nil
	}
	return p.device.Close()
}
