package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/server/process"
)

// devices are what this process computes on; the zero value is none.
type devices struct {
	infos    []kernels.Info
	load     func(i int) (engine.Engine, error)
	fallback *cpu
}

// devices finds the cards, or opens the CPU.
func (o options) devices(log *slog.Logger, stderr io.Writer) (d devices, err error) {
	if d.infos, err = o.device.Cards(func(line string) { log.Warn(line) }); err != nil {
		return d, err
	}
	o.shareMemory(len(d.infos))
	d.fallback = &cpu{models: o.models, log: log}
	if len(d.infos) == 0 {
		info, err := d.fallback.open()
		if err != nil {
			return d, err
		}
		d.infos, d.load = []kernels.Info{info}, d.fallback.load
		return d, nil
	}
	cards := d.infos
	d.load = func(i int) (engine.Engine, error) {
		return asEngine(o.start(cards[i].Name, stderr, process.Config{StallTimeout: o.stall}))
	}
	if o.device.Device == "auto" {
		d.load = withFallback(d.load, d.fallback.load, func(err error) { log.Warn(fmt.Sprintf("computing on the cpu: %s: %v", cards[0].Name, err)) })
	}
	return d, nil
}

func (d devices) names() (list []string) {
	for _, info := range d.infos {
		list = append(list, info.Name)
	}
	return list
}

// Close closes the CPU, if it was opened.
func (d devices) Close() error {
	if d.fallback == nil {
		return nil
	}
	return d.fallback.Close()
}
