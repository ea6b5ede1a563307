package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goxl/goxl/kernels"
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/nn/weights"
	"github.com/goxl/goxl/scheduler"
	"github.com/goxl/goxl/tokenizer"
)

// modelFolder is a folder under inspection.
type modelFolder struct {
	*inspection
	*weights.Folder
	variant weights.Variant
	refiner bool
	left    []string // notes of the parts, which opening the model gives too
}

// leftOut notes settings that a configuration has and goxl leaves out.
func (m *modelFolder) leftOut(file string, keys []string) {
	if len(keys) > 0 {
		m.left = append(m.left, note("unknown settings are left out", slog.String("file", file), slog.String("keys", strings.Join(keys, ", "))))
	}
}

// folder inspects a folder in diffusers' layout: it opens and tries it as generate does. Only where that fails it
// checks each part for itself, so that one problem hides no other.
func (i *inspection) folder(dir string, kind weights.Kind) [][2]string {
	opened, err := weights.OpenFolder(dir)
	if err != nil {
		i.problem(err)
		return nil
	}
	known := kind.Family == weights.SDXLBase || kind.Family == weights.SDXLRefiner
	m := &modelFolder{inspection: i, Folder: opened, refiner: kind.Family == weights.SDXLRefiner,
		variant: weights.Variant{Name: i.variant, Precision: i.device.Info().Precisions[0]}}
	var facts [][2]string
	if m.Dir() != dir {
		facts = append(facts, [2]string{"snapshot", m.Dir()})
	}
	var variants []string
	for _, v := range m.Variants() {
		if v == "" {
			v = "plain"
		}
		variants = append(variants, v)
	}
	if len(variants) > 0 {
		facts = append(facts, [2]string{"variants", strings.Join(variants, ", ")})
	}
	var borrowed []string
	for _, name := range []string{"text_encoder_2", "vae"} {
		if known && m.refiner && !m.Has(name) {
			borrowed = append(borrowed, name)
			m.notes = append(m.notes, name+" is not here: use the refiner with a base model, which has it (generate -refiner, refine -base)")
		}
	}
	for _, name := range m.components(known) {
		m.list(name, known)
	}
	opens := false
	if listed := len(i.notes); len(borrowed) == 0 {
		more := i.open(dir)
		if len(i.problems) == 0 {
			return append(facts, more...)
		}
		if opens = more != nil; !opens {
			i.notes = i.notes[:listed] // the parts give them all
		}
	}
	first := i.problems
	i.problems = nil
	if !known {
		i.problem(fmt.Errorf("goxl draws with SDXL base and refiner models, and this is %v", kind))
	}
	for _, name := range m.components(known) {
		switch {
		case known && !m.needs(name):
		case m.Has(name):
			m.component(name, known, borrowed)
		case !known && m.Index().Components[name] == (weights.Class{}), slices.Contains(borrowed, name):
		default:
			m.problem(fmt.Errorf("%s is missing", filepath.Join(m.Dir(), name)))
		}
	}
	if known {
		for _, name := range m.tokenizers() {
			m.tokenizer(name)
		}
		facts = append(facts, m.scheduler()...)
	}
	if len(i.problems) == 0 { // of the parts; so they do not belong together, or do not draw
		i.problems = first
	}
	if !opens {
		i.notes = append(i.notes, m.left...)
	}
	return facts
}

// needed are the parts with weights that the pipeline uses.
func (m *modelFolder) needed() []string {
	list := []string{"text_encoder_2", "unet", "vae"}
	if !m.refiner {
		list = append([]string{"text_encoder"}, list...)
	}
	return list
}

func (m *modelFolder) needs(name string) bool { return slices.Contains(m.needed(), name) }

// components are the parts that hold weights: those that the model needs, then others that are there.
func (m *modelFolder) components(known bool) []string {
	var list []string
	if known {
		list = m.needed()
	}
	for _, name := range slices.Sorted(maps.Keys(m.Index().Components)) {
		other := strings.HasPrefix(name, "tokenizer") || name == "scheduler" || name == "feature_extractor"
		if !other && !slices.Contains(list, name) && m.Index().Components[name] != (weights.Class{}) {
			list = append(list, name)
		}
	}
	return list
}

func (m *modelFolder) tokenizers() []string {
	if m.refiner {
		return []string{"tokenizer_2"}
	}
	return []string{"tokenizer", "tokenizer_2"}
}

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

// tokenizer reads a tokenizer's folder as the pipeline does.
func (m *modelFolder) tokenizer(name string) {
	for _, file := range []string{"tokenizer.json", "vocab.json"} {
		if _, err := fs.Stat(m.FS(), path.Join(name, file)); err == nil {
			if _, err := tokenizer.Load(m.FS(), name); err != nil {
				m.problem(err)
			}
			return
		}
	}
	m.notes = append(m.notes, name+" has no vocabulary here: CLIP's own is used")
}

func (m *modelFolder) scheduler() [][2]string {
	const file = "scheduler/scheduler_config.json"
	data, err := m.ReadFile(file)
	if err != nil {
		m.problem(err)
		return nil
	}
	c, err := scheduler.Parse(data)
	if err != nil {
		m.problem(fmt.Errorf("%s: %w", file, err))
		return nil
	}
	m.leftOut(file, c.Unknown())
	if err := c.Check(); err != nil {
		if others := c.Substitutes(); len(others) > 0 {
			err = fmt.Errorf("%w; goxl generate -scheduler NAME draws with another, as does \"scheduler\" in a request to the server: %s", err, strings.Join(others, ", "))
		}
		m.problem(fmt.Errorf("%s: %w", file, err))
	}
	return [][2]string{{"scheduler", c.Class}}
}

// describe counts what a component's files hold.
func describe(name, class string, c *weights.Component) row {
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
	file := filepath.Base(c.Path())
	if n := len(c.Files()); n > 1 || strings.HasSuffix(file, ".json") {
		file += fmt.Sprintf(" (%s)", plural(n, "shard"))
	}
	return row{name, class, file, strings.Join(slices.Sorted(maps.Keys(types)), ", "), fmt.Sprint(len(c.Names())), count(parameters), size(bytes, "B")}
}
