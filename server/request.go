package server

import "github.com/goxl/goxl/models/sdxl"

// diffusers has no limit here. Far above what anyone draws with, arithmetic overflows.
const maxGuidance = 1000

// generateRequest reads the body of POST /generate, and what the client is to be told of it.
func (s *Server) generateRequest(f *fields, info sdxl.Info) (r sdxl.Request, warning string, err error) {
	r = sdxl.Request{Prompt: f.text("prompt"), ImagesPerPrompt: 1, Steps: info.Steps, Guidance: &info.Guidance}
	r.NegativePrompt = f.optionalText("negative_prompt")
	all := s.costs.all()
	factor := uint64(info.ScaleFactor)
	side := limits{factor, uint64(longestSide(s.maxPixels(all))) / factor * factor, factor}
	r.Width = int(f.integer("width", side, uint64(info.Width)))
	r.Height = int(f.integer("height", side, uint64(info.Height)))
	s.common(f, &r)
	if f.err() == nil {
		s.limitSize(f, &r)
	}
	if f.err() == nil {
		warning = s.limitSteps(f, &r, info, all)
	}
	return r, warning, f.err()
}

// refineRequest reads the body of POST /refine. The request lacks its image yet, and the defaults of the refiner, which may not be open: see fill.
func (s *Server) refineRequest(f *fields) (id string, r sdxl.Request, err error) {
	id = f.text("id")
	r = sdxl.Request{Prompt: f.text("prompt"), ImagesPerPrompt: 1, Steps: 50, Guidance: new(5.0), Strength: 0.3}
	r.NegativePrompt = f.optionalText("negative_prompt")
	r.Strength = f.number("strength", interval{0, 1, true}, r.Strength)
	s.common(f, &r)
	return id, r, f.err()
}

// fill puts the refiner's defaults where the body of POST /refine gave nothing.
func (f *fields) fill(r *sdxl.Request, info sdxl.Info) {
	if f.given("num_inference_steps") == nil {
		r.Steps = info.Steps
	}
	if f.given("guidance_scale") == nil {
		r.Guidance = &info.Guidance
	}
	if f.given("strength") == nil {
		r.Strength = info.Strength
	}
}

// common reads the fields that both have.
func (s *Server) common(f *fields, r *sdxl.Request) {
	r.Steps = int(f.integer("num_inference_steps", limits{1, uint64(s.maxSteps(*r, "", nil)), 0}, uint64(r.Steps)))
	r.Guidance = new(f.number("guidance_scale", interval{0, maxGuidance, false}, *r.Guidance))
	r.Seed = new(f.seed("seed", s.newSeed))
	r.Scheduler = f.choice("scheduler", s.config.Schedulers)
	r.Watermark = s.config.Watermark
}
