package server

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
)

// checkDefaults is the error of those values for every request that the models can't be run with.
func (c *Config) checkDefaults() error {
	for i, m := range c.allModels() {
		if err := c.checkDefaultsOf(m); err != nil && i > 0 {
			return fmt.Errorf("%w, of the model %s", err, m.Name)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkDefaultsOf(m Model) error {
	fields := map[string]string{"textual_inversions": "TextualInversions", "prompt_style": "PromptStyle", "preset": "Preset"}
	for _, model := range []engine.Model{engine.Base, engine.Refiner} {
		j := engine.Job{Model: model}
		j.Request.TextualInversions = c.TextualInversions
		if model == engine.Refiner {
			if m.Specs.Refiner == nil {
				break
			}
			j.Request.Image = sdxl.Blank{Size: sdxl.Size{Height: 64, Width: 64}}
		}
		c.fillIn(&j)
		_, err := m.Specs.Resolve(j)
		var bad *sdxl.RequestError
		if errors.As(err, &bad) && fields[bad.Field] != "" { // other fields are the requests' own
			return fmt.Errorf("server: %s: the %s: %w", fields[bad.Field], model, err)
		}
	}
	return nil
}

// fillIn gives a job the server's values for what its request does not say. A refiner has no use for the presets of base
// models.
func (c *Config) fillIn(j *engine.Job) {
	r := &j.Request
	r.PromptStyle = cmp.Or(r.PromptStyle, c.PromptStyle)
	if j.Model != engine.Refiner {
		r.Preset = cmp.Or(r.Preset, c.Preset)
	}
}
