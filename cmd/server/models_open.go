package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/kernels"
	processor "github.com/goxl/goxl/kernels/cpu"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// open opens the first model on a device of this process; the others are opened when they are first needed.
func (m *models) open(ctx context.Context, device kernels.Device, precision kernels.DType, log *slog.Logger) (*engine.Several, error) {
	host, err := sdxl.NewHost(device, log)
	if err != nil {
		return nil, err
	}
	c := engine.SeveralConfig{Memory: int64(m.memory), Lost: device.Lost, Host: host, Precision: precision, Log: log}
	width := int64(cmp.Or(precision, device.Info().Precisions[0]).Size())
	for i, e := range append([]entry{m.first()}, m.more...) {
		o := engine.Opening{
			Name: e.called(), Folder: folderOf(e.path),
			Open: func(ctx context.Context, onLoad func(done, total int64)) (engine.Engine, error) {
				return m.openOne(ctx, host, precision, e, i == 0, onLoad, log)
			},
		}
		if len(m.more) > 0 {
			o.Bytes = width * m.parameters(e, i == 0)
		}
		c.Models = append(c.Models, o)
	}
	return engine.NewSeveral(ctx, c)
}

// shareMemory makes -models-memory that of each device, which has its models apart.
func (m *models) shareMemory(devices int) {
	if m.memory == 0 {
		m.memory = cli.Size(processor.SystemMemory() / 2)
	}
	m.memory = max(1, m.memory/cli.Size(max(1, devices)))
}

// folderOf is the folder that a model is, or that its file lies in; "" for a name.
func folderOf(path string) string {
	switch {
	case !strings.ContainsRune(path, filepath.Separator):
		return ""
	case filepath.Ext(path) == "":
		return path
	}
	return filepath.Dir(path)
}

// parameters is how many a model has, with its refiner; 0 where that can't be read, of which opening it tells.
func (m *models) parameters(e entry, first bool) (n int64) {
	read := m.specs
	if !first {
		read = func() (engine.Specs, error) { return m.specsOf(e.path) }
	}
	specs, err := read()
	if err != nil {
		return 0
	}
	n = specs.Base.Info().Parameters
	if specs.Refiner != nil {
		n += specs.Refiner.Info().Parameters
	}
	return n
}

// openOne opens a model and its refiner. The first has the parts that are meant for it alone.
func (m *models) openOne(
	ctx context.Context, host *sdxl.Host, precision kernels.DType, e entry, first bool, onLoad func(done, total int64), log *slog.Logger,
) (engine.Engine, error) {
	refiner, err := m.chosenRefiner()
	if err != nil {
		return nil, err
	}
	p := m.sharedParts()
	if first {
		p = m.parts()
	}
	base, err := cli.OpenModel(ctx, e.path, sdxl.Options{
		Host: host, Precision: precision, Variant: m.variant, Log: log, OnLoad: onLoad,
		UNet: p.UNet, VAE: p.VAE, Missing: p.Missing, Prediction: p.Prediction, TAESD: m.taesd,
		PreviewTAESD: m.previews.taesd, PreviewMethod: m.previews.method,
	})
	if err != nil {
		return nil, err
	}
	if !first {
		fits, err := m.fittingRefiner(base.Spec())
		if err != nil {
			return nil, errors.Join(err, base.Close())
		}
		if fits == nil {
			refiner = ""
		}
	}
	var second *sdxl.Model
	if refiner != "" {
		if second, err = cli.OpenModel(ctx, refiner, sdxl.Options{Base: base, OnLoad: onLoad}); err != nil {
			return nil, errors.Join(err, base.Close())
		}
	}
	l, err := engine.NewLocal(ctx, base, second)
	return asEngine(l, err)
}
