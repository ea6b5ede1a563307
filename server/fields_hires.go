package server

import (
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
)

var hiresDoc = fieldDoc{"hires", "A second pass of text-to-image in a larger size, as A1111's hires fix."}

var hiresDocs = []fieldDoc{
	{"scale", "Of width and height; 2 if absent, unless there is a width or height."},
	{"width", "Pixels, in place of scale. Without height, the aspect ratio stays."},
	{"height", "Pixels, in place of scale."},
	{"num_inference_steps", "Steps that the second pass takes; the request's if absent."},
	{"strength", "How much the second pass makes anew; 0.7 if absent."},
	{"upscaler", "A name of upscalers of GET /v1/options; latent if absent."},
	{"prompt", "The second pass's, of both text encoders, with the adapters that it names; the request's if absent."},
	{"negative_prompt", "The second pass's; the request's if absent."},
	{"scheduler", "The second pass's sampler; the request's if absent."},
}

// hires reads the second pass; nil without one.
func (s *Server) hires(f *fields, m Model) (h *sdxl.Hires) {
	f.object("hires", hiresDocs, func(one *fields) {
		side := limits{8, s.sideLimits(m).max, 8}
		h = &sdxl.Hires{
			Scale: one.number("scale", interval{min: 1, max: sdxl.MaxHiresScale}, 0),
			Width: int(one.integer("width", side, 0)), Height: int(one.integer("height", side, 0)),
			Steps:    int(one.integer("num_inference_steps", limits{1, uint64(s.mostSteps()), 0}, 0)),
			Strength: one.number("strength", interval{min: 0, max: 1, aboveMin: true}, 0),
			Upscaler: s.upscaler(one, "upscaler", sdxl.HiresUpscalers()), Scheduler: one.scheduler("scheduler", s.config.Schedulers),
			NegativePrompt: one.optionalText("negative_prompt"),
		}
		if text := one.optionalText("prompt"); text != nil {
			h.Prompt = *text
		}
		if h.Scale != 0 && (h.Width != 0 || h.Height != 0) {
			one.report("scale", "value_error", "Value error, must be absent beside width or height", nil)
		}
	})
	if f.notes != nil { // which has read no object
		return nil
	}
	return h
}

// upscaler reads the name of an upscaler of own, which need no file, or of one of the folder, whose path it gives; ""
// without one.
func (s *Server) upscaler(f *fields, name string, own []string) string {
	f.notes.form(name, &jsonschema.Schema{Type: "string", Examples: values(own)})
	before := len(f.problems)
	text := f.optionalText(name)
	if text == nil || len(f.problems) > before {
		return ""
	}
	if small := strings.ToLower(*text); slices.Contains(own, small) {
		return small
	}
	files := s.upscalerFiles()
	files.others = own
	return files.find(f, name, *text)
}
