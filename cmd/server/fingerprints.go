package main

import (
	"log/slog"
	"path/filepath"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
)

// fingerprints are those of the models and of the refiner, by the names that requests have, so that servers and workers
// find out that their files differ. A model that is built in has none, nor one whose weights are not here.
func (m *models) fingerprints(log *slog.Logger) map[string]string {
	sums := map[string]string{}
	v := m.device.Variant(m.variant)
	add := func(name, path string, o sdxl.Options) {
		if path == cli.Demo {
			return
		}
		o.Variant, o.Precision = v.Name, v.Precision
		sum, err := sdxl.Fingerprint(path, o)
		switch {
		case err != nil:
			log.Info("a model's files are not compared with those of other processes", slog.String("model", name), slog.String("reason", err.Error()))
		case sum != "":
			sums[name] = sum
		}
	}
	shared := sdxl.Options{VAE: m.vae, TAESD: m.taesd, Missing: m.missing}
	first := shared
	first.UNet = m.unet
	add(m.first().called(), m.model, first)
	for _, e := range m.more {
		add(e.called(), e.path, shared)
	}
	if refiner, err := m.chosenRefiner(); err == nil && refiner != "" {
		if name := filepath.Base(refiner); sums[name] == "" {
			add(name, refiner, sdxl.Options{})
		}
	}
	return sums
}
