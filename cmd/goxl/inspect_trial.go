package main

import (
	"fmt"
	"strings"

	"github.com/goxl/goxl/models/sdxl"
)

// trial runs one step with an open model and notes defaults that need a flag. It runs none with a synthetic model,
// whose weights take minutes to compute at full size.
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
