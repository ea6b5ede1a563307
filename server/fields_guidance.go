package server

import (
	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
)

// Limits of what guides beside guidance_scale.
const (
	maxFreeU     = 100
	maxPAGLayers = 64
)

// guidanceDocs are the fields of guidance beside its scale.
var guidanceDocs = []fieldDoc{
	{"guidance_start", "The fraction of the steps from which on there is guidance."},
	{"guidance_end", "The fraction of the steps after which there is none any more; 1 if absent."},
	{"pag_scale", "Perturbed attention guidance, with other guidance or alone; 0 is none, 3 is usual."},
	{"pag_adaptive_scale", "The scale of perturbed attention guidance is less by so much for each timestep after 1000, down to 0."},
	{"pag_applied_layers", "Regular expressions of the paths of the UNet's self-attentions that are perturbed; mid if absent."},
	{"freeu", "Scales the skip connections (s1, s2) and the channels (b1, b2) of the UNet's first two blocks of the way up."},
}

var freeUDocs = []fieldDoc{{"s1", "Of the first block."}, {"s2", "Of the second block."}, {"b1", "Of the first block."}, {"b2", "Of the second block."}}

// guidance reads them.
func (f *fields) guidance(r *sdxl.Request) {
	r.GuidanceStart = f.number("guidance_start", interval{min: 0, max: 1, belowMax: true}, 0)
	r.GuidanceEnd = f.number("guidance_end", interval{min: 0, max: 1, aboveMin: true}, 0)
	r.PAGScale = f.number("pag_scale", interval{min: 0, max: maxGuidance}, 0)
	r.PAGAdaptiveScale = f.number("pag_adaptive_scale", interval{min: 0, max: maxGuidance}, 0)
	const layers = "pag_applied_layers"
	f.notes.items(layers, 0, maxPAGLayers, &jsonschema.Schema{Type: "string"})
	for i, raw := range f.items(layers, maxPAGLayers) {
		f.item(layers, i, raw, "string_type", "string", func(one *fields) { r.PAGAppliedLayers = append(r.PAGAppliedLayers, one.text(layers)) })
	}
	if r.PAGScale == 0 && r.PAGAdaptiveScale != 0 { // which it is of
		delete(f.used, "pag_adaptive_scale")
	}
	if r.PAGScale == 0 && len(r.PAGAppliedLayers) > 0 {
		delete(f.used, layers)
	}
	var u sdxl.FreeU
	f.object("freeu", freeUDocs, func(one *fields) {
		factor := interval{min: 0, max: maxFreeU, aboveMin: true}
		u = sdxl.FreeU{S1: one.number("s1", factor, 0.9), S2: one.number("s2", factor, 0.2), B1: one.number("b1", factor, 1.3), B2: one.number("b2", factor, 1.4)}
	})
	if f.given("freeu") != nil {
		r.FreeU = &u
	}
}
