package main

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

// trial draws a first step with an open model and tells of defaults that cannot be drawn with. A synthetic model's
// weights are a formula: computing them to find them right takes minutes at full size.
func (i *inspection) trial(p *sdxl.Model) {
	info := p.Info()
	if !strings.HasPrefix(info.Path, "synth:") {
		if err := i.try(p); err != nil {
			i.problem(err)
			return
		}
	}
	if info.Refiner {
		return
	}
	if _, err := p.Resolve(sdxl.Request{}); err != nil {
		i.notes = append(i.notes, fmt.Sprintf("its defaults need a flag: %v", err))
	}
}
