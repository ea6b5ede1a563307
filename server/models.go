package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/server/engine"
)

// Model is one of several models of a server.
type Model struct {
	Name  string // as requests have it
	Specs engine.Specs
}

// allModels are the configured models, the default one first.
func (c *Config) allModels() []Model {
	return append([]Model{{cmp.Or(c.Name, filepath.Base(c.Specs.Base.Path)), c.Specs}}, c.Models...)
}

// checkModels is the error of names that requests could not have.
func (c *Config) checkModels() error {
	seen := map[string]bool{}
	for i, m := range c.allModels() {
		switch {
		case m.Specs.Base == nil:
			return fmt.Errorf("server: Models[%d].Specs.Base is nil: must be the configurations of the model", i-1)
		case m.Name == "":
			return errors.New("server: the name of a model is empty: must be what requests call it")
		case seen[m.Name]:
			return fmt.Errorf("server: two models are called %q: their names must differ", m.Name)
		}
		seen[m.Name] = true
	}
	return nil
}

// specs are the configurations of the model of that name; those of the default one where there is none, which an engine
// refuses.
func (s *Server) specs(name string) engine.Specs {
	for _, m := range s.config.Models {
		if m.Name == name {
			return m.Specs
		}
	}
	return s.config.Specs
}

// refinerName is what requests call a model's refiner, "" if it has none.
func (m Model) refinerName() string {
	if m.Specs.Refiner == nil {
		return ""
	}
	return filepath.Base(m.Specs.Refiner.Path)
}

// modelNames are what a request may call the models: the bases, and then the refiners, which do image-to-image alone.
func (s *Server) modelNames() []string {
	all := s.config.allModels()
	names := baseNames(all)
	for _, m := range all {
		if r := m.refinerName(); r != "" && !slices.Contains(names, r) {
			names = append(names, r)
		}
	}
	return names
}

func baseNames(models []Model) (names []string) {
	for _, m := range models {
		names = append(names, m.Name)
	}
	return names
}

// chooseModel reads the field model: the model that it names, or the default one. With images it may name a refiner too,
// which is then that of the first model that has it.
func (s *Server) chooseModel(f *fields, images bool) (m Model, refiner bool) {
	m, refiner, known := s.lookUpModel(f, images)
	if !known {
		names := s.modelNames()
		if !images {
			names = baseNames(s.config.allModels())
		}
		f.choice("model", names) // which reports it
	}
	return m, refiner
}

// lookUpModel is chooseModel that reports nothing; where the field names no model, the default one comes.
func (s *Server) lookUpModel(f *fields, images bool) (m Model, refiner, known bool) {
	all := s.config.allModels()
	f.notes.form("model", &jsonschema.Schema{Type: "string"})
	raw := f.given("model")
	if raw == nil {
		return all[0], false, true
	}
	var name string
	if json.Unmarshal(raw, &name) != nil || name == "" {
		return all[0], false, false
	}
	for _, m := range all {
		if m.Name == name {
			return m, false, true
		}
	}
	for _, m := range all {
		if images && m.refinerName() == name {
			return m, true, true
		}
	}
	if m, own := modelOfFile(all, name); own {
		return m, false, true
	}
	return all[0], false, false
}

// modelOfFile is the one model whose folder or file has a name, which is what an image's parameters call it.
func modelOfFile(all []Model, name string) (of Model, found bool) {
	for _, m := range all {
		if filepath.Base(m.Specs.Base.Path) != name {
			continue
		}
		if found {
			return of, false
		}
		of, found = m, true
	}
	return of, found
}
