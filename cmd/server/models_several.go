package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/goxl/goxl/internal/cli"
	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server"
	"github.com/goxl/goxl/server/engine"
)

// entry is one of several models.
type entry struct{ name, path string }

// flag is the value of -model that gives the entry.
func (e entry) flag() string {
	if e.name == "" {
		return e.path
	}
	return e.name + "=" + e.path
}

// called is what requests call the model.
func (e entry) called() string {
	if e.name == "" {
		return filepath.Base(e.path)
	}
	return e.name
}

// first is the model of requests that name none.
func (m *models) first() entry { return entry{m.name, m.model} }

// modelFlag is -model.
type modelFlag models

func (f *modelFlag) String() string {
	if f == nil {
		return ""
	}
	return f.model
}

// Set reads [NAME=]PATH. A path that is there is one, whatever is in it.
func (f *modelFlag) Set(text string) error {
	e := entry{path: text}
	if name, path, named := strings.Cut(text, "="); named {
		if _, err := os.Lstat(text); errors.Is(err, fs.ErrNotExist) {
			if name == "" || path == "" {
				return errors.New("must be PATH, or NAME=PATH with both")
			}
			e = entry{name, path}
		}
	}
	if f.given {
		f.more = append(f.more, e)
		return nil
	}
	f.name, f.model, f.given = e.name, e.path, true
	return nil
}

// further reads the configurations of the models beside the first.
func (m *models) further() (list []server.Model, err error) {
	names := map[string]bool{m.first().called(): true}
	for _, e := range m.more {
		specs, err := m.specsOf(e.path)
		if err != nil {
			return nil, fmt.Errorf("-model %s: %w", e.flag(), err)
		}
		if names[e.called()] {
			return nil, cli.Usagef("-model %s: there is a model %s already: must have another name, as NAME=PATH", e.flag(), e.called())
		}
		names[e.called()] = true
		list = append(list, server.Model{Name: e.called(), Specs: specs})
	}
	return list, nil
}

// specsOf reads the configurations of a model beside the first. It has the refiner where that fits.
func (m *models) specsOf(path string) (s engine.Specs, err error) {
	if s.Base, err = cli.ReadSpecParts(path, m.sharedParts(), nil, nil); err != nil {
		return s, err
	}
	if s.Base.Info().Refiner {
		return s, errors.New("is a refiner: must be a base model, with the refiner in -refiner")
	}
	s.Refiner, err = m.fittingRefiner(s.Base)
	return s, err
}

// sharedParts are what every model takes from other files.
func (m *models) sharedParts() sdxl.Parts { return sdxl.Parts{VAE: m.vae, Missing: m.missing} }

// fittingRefiner is the refiner of a model beside the first, nil if it has none.
func (m *models) fittingRefiner(base *sdxl.Spec) (*sdxl.Spec, error) {
	refiner, err := m.chosenRefiner()
	if err != nil || refiner == "" || refiner == cli.Demo { // which is of demo alone
		return nil, err
	}
	s, err := cli.ReadSpec(refiner, base, nil)
	var unfit *sdxl.ModelError
	if errors.As(err, &unfit) {
		return nil, nil
	}
	return s, err
}

// find adds the models in the folder of -models. What can't be one is left out; the log says why.
func (m *models) find(log *slog.Logger) error {
	if m.folder == "" {
		return nil
	}
	found, err := findModels(m.folder, log)
	if err != nil {
		return fmt.Errorf("-models: %w", err)
	}
	names := map[string]bool{}
	var given []os.FileInfo
	if m.given {
		for _, e := range append([]entry{m.first()}, m.more...) {
			names[e.called()] = true
			if info, err := os.Stat(e.path); err == nil {
				given = append(given, info)
			}
		}
	}
	for _, e := range found {
		leave := func(why string) {
			log.Warn("not one of the models", slog.String("path", e.path), slog.String("reason", why))
		}
		info, err := os.Stat(e.path)
		if err != nil {
			leave(err.Error())
			continue
		}
		if sameFile(given, info) {
			continue
		}
		if _, err := m.specsOf(e.path); err != nil {
			leave(err.Error())
			continue
		}
		switch {
		case names[e.name]:
			leave("there is another one called " + e.name)
		case !m.given:
			m.name, m.model, m.given = e.name, e.path, true
		default:
			m.more = append(m.more, e)
		}
		names[e.name] = true
	}
	if !m.given {
		return cli.Usagef("-models %s: there is no model in it: must have a folder in diffusers' layout or a checkpoint in one file, or -model must be given", m.folder)
	}
	log.Info("models", slog.Int("count", 1+len(m.more)), slog.String("default", m.first().called()))
	return nil
}

func sameFile(list []os.FileInfo, info os.FileInfo) bool {
	for _, other := range list {
		if os.SameFile(other, info) {
			return true
		}
	}
	return false
}
