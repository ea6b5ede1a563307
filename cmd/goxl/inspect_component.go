package main

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
)

// list adds a component to the table.
func (m *modelFolder) list(name string, known bool) {
	if known && !m.needs(name) {
		m.notes = append(m.notes, name+" is not used by goxl")
	}
	if !m.Has(name) {
		return
	}
	src, err := m.Component(name, m.variant)
	if err != nil {
		return // component says why
	}
	m.rows = append(m.rows, describe(name, m.Index().Components[name].Name, src))
	if err := src.Close(); err != nil {
		m.problem(err)
	}
}

// component opens a component and, of a model that goxl knows, binds it. Where the model is not opened as a whole,
// since it borrows from another, it also looks for NaN and Inf.
func (m *modelFolder) component(name string, bind bool, borrowed []string) {
	src, err := m.Component(name, m.variant)
	if err != nil {
		m.problem(err)
		src = nil
	} else {
		defer func() {
			if err := src.Close(); err != nil {
				m.problem(err)
			}
		}()
	}
	if !bind {
		return
	}
	fits, err := m.fits(name)
	if err != nil {
		m.problem(err)
		return
	}
	if src == nil {
		return
	}
	m.misfits(name, fits(src))
	if len(borrowed) > 0 {
		for _, t := range src.Names() {
			if dtype, _, data, err := src.Tensor(t); err == nil && !weights.Finite(dtype, data) {
				m.problem(fmt.Errorf("%s: tensor %s holds NaN or Inf", name, t))
			}
		}
	}
}

// fits reads a component's configuration and returns what binds weights to it.
func (m *modelFolder) fits(name string) (func(kernels.Source) error, error) {
	file := name + "/config.json"
	config, err := m.ReadFile(file)
	if err != nil {
		return nil, err
	}
	switch file := filepath.Join(m.Dir(), filepath.FromSlash(file)); name {
	case "unet":
		return m.unet(config, file)
	case "vae":
		return m.vae(config, file)
	default:
		return m.encoder(name, config, file)
	}
}

// misfits makes a problem of each tensor in what binding a component said.
func (m *modelFolder) misfits(name string, err error) {
	var all *nn.BindError
	if !errors.As(err, &all) {
		if err != nil {
			m.problem(fmt.Errorf("%s: %w", name, err))
		}
		return
	}
	for _, part := range []struct {
		what string
		list []string
	}{{"missing tensor", all.Missing}, {"wrong tensor", all.Wrong}, {"tensor of a module that the configuration leaves out", all.LeftOut}, {"unknown tensor", all.Unclaimed}} {
		for _, t := range part.list {
			m.problem(fmt.Errorf("%s: %s %s", name, part.what, t))
		}
	}
}

func (m *modelFolder) encoder(name string, config []byte, file string) (func(kernels.Source) error, error) {
	c, err := clip.ParseConfig(config, file)
	m.leftOut(file, c.Unknown)
	if class := m.Index().Components[name].Name; err == nil && class != "" {
		c, err = c.As(class)
	}
	return func(src kernels.Source) error {
		if err := c.Fits(src, file); err != nil {
			return err
		}
		e, err := clip.Open(m.device, src, c, kernels.Options{})
		if err != nil {
			return err
		}
		return e.Close()
	}, err
}

func (m *modelFolder) unet(config []byte, file string) (func(kernels.Source) error, error) {
	c, err := unet.ParseConfig(config, file)
	m.leftOut(file, c.Unknown)
	return func(src kernels.Source) error {
		if err := c.Fits(src, file); err != nil {
			return err
		}
		_, err := nn.Bind(unet.New(c), src)
		return err
	}, err
}

func (m *modelFolder) vae(config []byte, file string) (func(kernels.Source) error, error) {
	c, err := vae.ParseConfig(config, file)
	m.leftOut(file, c.Unknown)
	return func(src kernels.Source) error {
		if err := c.Fits(src, file); err != nil {
			return err
		}
		a, err := vae.Open(m.device, src, c, kernels.Options{})
		if err != nil {
			return err
		}
		return a.Close()
	}, err
}

// stored are tensors that say how a file has them.
type stored interface {
	Names() []string
	Stored(name string) (dtype string, shape []int, bytes int64, err error)
}

// describe counts what a component's files hold.
func describe(name, class string, c *weights.Component) row {
	file := filepath.Base(c.Path())
	if n := len(c.Files()); n > 1 || strings.HasSuffix(file, ".json") {
		file += fmt.Sprintf(" (%s)", plural(n, "shard"))
	}
	return describeTensors(name, class, file, c)
}

func describeTensors(name, class, file string, c stored) row {
	types := map[string]int{}
	var parameters, bytes int64
	for _, t := range c.Names() {
		dtype, shape, n, err := c.Stored(t)
		if err != nil {
			continue // of names that the component itself lists, none fails
		}
		types[dtype]++
		parameters += int64(kernels.Elements(shape))
		bytes += n
	}
	return row{name, class, file, strings.Join(slices.Sorted(maps.Keys(types)), ", "), fmt.Sprint(len(c.Names())), count(parameters), size(bytes, "B")}
}
