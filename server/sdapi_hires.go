package server

import (
	"cmp"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/internal/imagefile"
	"github.com/goxl/goxl/models/sdxl"
)

// sdLatentMode is a latent upscaler in GET /sdapi/v1/latent-upscale-modes.
type sdLatentMode struct {
	Name string `json:"name"`
}

// sdLatentModes are A1111's (modules/shared_items.py, latent_upscale_modes), in its order.
var sdLatentModes = []sdLatentMode{
	{"Latent"}, {"Latent (antialiased)"}, {"Latent (bicubic)"}, {"Latent (bicubic antialiased)"}, {"Latent (nearest)"}, {"Latent (nearest-exact)"},
}

// What clients send for a sampler, schedule type or model of the second pass that is that of the first.
const (
	sdSameSampler  = "Use same sampler"
	sdSameSchedule = "Use same scheduler"
	sdSameModel    = "Use same checkpoint"
)

// sdHires reads the second pass of txt2img at a higher resolution.
func (s *Server) sdHires(q *sdRequest) error {
	f, r := q.fields, &q.job.Request
	on := f.boolean("enable_hr", false)
	h := &sdxl.Hires{
		Strength: f.number("denoising_strength", interval{min: 0, max: 1, aboveMin: true}, 0.75),
		Steps:    int(f.integer("hr_second_pass_steps", limits{0, uint64(s.mostSteps()), 0}, 0)),
	}
	side := limits{0, sdxl.MaxSide, 8}
	h.Width, h.Height = int(f.integer("hr_resize_x", side, 0)), int(f.integer("hr_resize_y", side, 0))
	if scale := f.number("hr_scale", interval{min: 1, max: sdxl.MaxHiresScale}, 2); h.Width == 0 && h.Height == 0 {
		h.Scale = scale
	}
	// As in A1111, the size of the first pass is the one that the scale is of.
	if width, height := int(f.integer("firstphase_width", side, 0)), int(f.integer("firstphase_height", side, 0)); width > 0 && height > 0 {
		q.size = sdxl.Size{Height: height, Width: width}
		r.Width, r.Height = width, height
	} else if width+height > 0 {
		f.report("firstphase_width", "value_error", "Value error, must be 0 where firstphase_height is, and only there", nil)
	}
	text := func(name, same string) string {
		if p := f.optionalText(name); p != nil && *p != same {
			return *p
		}
		return ""
	}
	prompt, err := s.sdPrompt(q, "hr_prompt", text("hr_prompt", ""))
	if prompt != r.Prompt {
		h.Prompt = prompt
	}
	if negative := text("hr_negative_prompt", ""); negative != "" && negative != or(r.NegativePrompt, "") {
		h.NegativePrompt = &negative
	}
	upscaler := text("hr_upscaler", "")
	if f.notes != nil {
		f.notes.form("hr_upscaler", &jsonschema.Schema{Type: "string", Examples: values(sdHiresUpscalers())})
	}
	sampler, schedule, model := text("hr_sampler_name", sdSameSampler), text("hr_scheduler", sdSameSchedule), text("hr_checkpoint_name", sdSameModel)
	if !on || err != nil || len(f.problems) > 0 {
		return err
	}
	if model != "" {
		of, which, err := s.sdModel("hr_checkpoint_name", model)
		if err != nil {
			return err
		}
		if of != q.settings.name || which != q.settings.model {
			return &failure{kind: notImplemented, detail: "hr_checkpoint_name: goxl has no second pass of another model"}
		}
	}
	if sampler+schedule != "" {
		own, ownSchedule := imagefile.SamplerNames(r.Scheduler)
		name, err := s.sdSampler("hr_", cmp.Or(sampler, own), cmp.Or(schedule, ownSchedule))
		if err != nil {
			return err
		}
		if name != r.Scheduler {
			h.Scheduler = name
		}
	}
	r.Hires = h
	h.Upscaler = s.sdHiresUpscaler(f, upscaler)
	return nil
}

// sdHiresUpscalers are the names of what enlarges between the two passes without a file.
func sdHiresUpscalers() (names []string) {
	for _, mode := range sdLatentModes {
		names = append(names, mode.Name)
	}
	return append(names, sdUpscalerNames...)
}

// sdHiresUpscaler is the library's name of an upscaler, or the file of one; "" is the one that A1111 takes without a name.
func (s *Server) sdHiresUpscaler(f *fields, name string) string {
	names := sdHiresUpscalers()
	switch {
	case name == "":
		return strings.ToLower(names[0])
	case name == sdNone: // A1111 resizes the image then as without an upscaler
		return strings.ToLower(sdLanczos)
	case slices.Contains(names, name):
		return strings.ToLower(name)
	}
	files := s.upscalerFiles()
	files.others = names
	return files.find(f, "hr_upscaler", name)
}
