package main

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"

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
		i.problem(fmt.Errorf("goxl runs SDXL base and refiner models, and this is %v", kind))
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
	if len(i.problems) == 0 { // of the parts; so they do not fit together, or a step fails
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

// tokenizer reads a tokenizer's folder as the pipeline does.
func (m *modelFolder) tokenizer(name string) {
	load := tokenizer.Load
	if !tokenizer.HasVocabulary(m.FS(), name) {
		load = tokenizer.LoadCLIP
		m.notes = append(m.notes, name+" has no vocabulary here: CLIP's own is used")
	}
	if _, err := load(m.FS(), name); err != nil {
		m.problem(err)
	}
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
			err = fmt.Errorf("%w; goxl generate -scheduler NAME uses another, as does \"scheduler\" in a request to the server: %s", err, strings.Join(others, ", "))
		}
		m.problem(fmt.Errorf("%s: %w", file, err))
	}
	return [][2]string{{"scheduler", c.Class}}
}
