package server

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// diffusers has no limits here. Far above what anyone asks for, arithmetic overflows.
const (
	maxGuidance = 1000
	maxScore    = 1000
	maxCoord    = 1 << 16 // pixels of micro-conditioning
	maxClipSkip = 100     // more than a text encoder has layers
)

// generateJob reads the body of POST /generate, and of jobs of a base or an ensemble, with the images of a task. What the
// body does not give is left to Resolve.
func (s *Server) generateJob(x *exchange, f *fields, task sdxl.Task) (jobRequest, error) {
	m, _ := s.chooseModel(f, false)
	j := engine.Job{Name: m.Name, Model: engine.Base}
	r, in := &j.Request, s.inputs(x)
	if task != sdxl.TextToImage {
		f.startImage(r, in, task)
		f.start(r)
	}
	if in.err != nil {
		return jobRequest{}, in.err
	}
	s.common(f, r, in)
	s.sides(f, m, r)
	if f.boolean("refiner", false) {
		j.Model = engine.Ensemble
		j.DenoisingEnd = f.number("denoising_end", within, sdxl.DefaultDenoisingEnd)
	} else {
		r.DenoisingEnd = f.number("denoising_end", within, 0)
	}
	r.Hires = s.hires(f, m)
	s.config.fillIn(&j)
	return in.request(j), cmp.Or(in.err, s.modelIsThere(j, f))
}

// sides reads width and height.
func (s *Server) sides(f *fields, m Model, r *sdxl.Request) {
	side := s.sideLimits(m)
	r.Width = int(f.integer("width", side, 0))
	r.Height = int(f.integer("height", side, 0))
}

// sideLimits are those of a side of an image that a model computes.
func (s *Server) sideLimits(m Model) limits {
	factor := uint64(m.Specs.Base.VAE.ScaleFactor())
	return limits{max(factor, 8), uint64(longestSide(s.maxPixels(s.costs.of(m.Name)))) / factor * factor, factor}
}

// refineJob reads the body of POST /refine. The image that the job begins with, whose id is returned, is not there yet.
func (s *Server) refineJob(x *exchange, f *fields) (id string, r jobRequest, err error) {
	f.source = "id"
	id = f.text("id")
	in := s.inputs(x)
	var start sdxl.Request
	if f.inpaints() {
		f.inpainting(&start, in)
	}
	j := s.imageToImage(f, in, start)
	return id, in.request(j), cmp.Or(s.modelIsThere(j, f), in.err)
}

// imageToImage reads the fields of image-to-image but those that are in start, on the refiner unless the field refiner is
// false.
func (s *Server) imageToImage(f *fields, in *inputs, start sdxl.Request) engine.Job {
	m, refiner := s.chooseModel(f, true)
	j := engine.Job{Name: m.Name, Model: engine.Refiner, Request: start}
	r := &j.Request
	s.common(f, r, in)
	f.start(r)
	r.DenoisingEnd = f.number("denoising_end", within, 0)
	if !f.boolean("refiner", true) && !refiner {
		j.Model = engine.Base
	}
	s.config.fillIn(&j)
	return j
}

// imageTask is what the fields of images ask for, whatever else there is.
func (f *fields) imageTask() sdxl.Task {
	switch {
	case f.inpaints():
		return sdxl.Inpaint
	case f.given("image") != nil:
		return sdxl.ImageToImage
	}
	return sdxl.TextToImage
}

// startImage reads the image of a task that begins with one, and what of it is repainted.
func (f *fields) startImage(r *sdxl.Request, in *inputs, task sdxl.Task) {
	f.source = "image"
	r.Image = in.required(f, "image", "image")
	r.Resize = sdxl.Resize(f.choice("resize", names(sdxl.Resizes())))
	if task == sdxl.Inpaint {
		f.inpainting(r, in)
	}
}

// start reads how much of an image is made anew.
func (f *fields) start(r *sdxl.Request) {
	r.Strength = f.number("strength", interval{min: 0, max: 1, aboveMin: true}, 0)
	r.DenoisingStart = f.number("denoising_start", within, 0)
}

// modelIsThere is the error of the fields, or else that of a job for a refiner where there is none.
func (s *Server) modelIsThere(j engine.Job, f *fields) error {
	if err := f.err(); err != nil {
		return err
	}
	if j.Model != engine.Base && s.specs(j.Name).Refiner == nil {
		return &failure{kind: noRefiner}
	}
	return nil
}

// within is the fractions of the steps that a run can begin or end at.
var within = interval{min: 0, max: 1, aboveMin: true, belowMax: true}

// common reads the fields that both have, by diffusers' names.
func (s *Server) common(f *fields, r *sdxl.Request, in *inputs) {
	r.Prompt = f.text("prompt")
	if text := f.optionalText("prompt_2"); text != nil {
		r.Prompt2 = *text
	}
	r.NegativePrompt = f.optionalText("negative_prompt")
	r.NegativePrompt2 = f.optionalText("negative_prompt_2")
	r.PromptStyle = prompt.Style(f.choice("prompt_style", names(prompt.Styles())))
	r.Emphasis = sdxl.Emphasis(f.choice("emphasis", names(sdxl.Emphases())))
	r.Steps = int(f.integer("num_inference_steps", limits{1, uint64(s.mostSteps()), 0}, 0))
	r.Timesteps = f.numbers("timesteps", MostSteps, interval{min: 0, max: 1e6})
	r.Sigmas = f.numbers("sigmas", MostSteps, interval{min: 0, max: 1e6})
	guidance := interval{min: 0, max: maxGuidance}
	if f.isList("guidance_scale") {
		r.GuidancePerStep = f.numbers("guidance_scale", MostSteps, guidance)
	} else {
		r.Guidance = f.optionalNumber("guidance_scale", guidance)
	}
	r.GuidanceRescale = f.optionalNumber("guidance_rescale", interval{min: 0, max: 1})
	f.guidance(r)
	r.Eta = f.optionalNumber("eta", interval{min: 0, max: 1})
	r.ClipSkip = int(f.integer("clip_skip", limits{0, maxClipSkip, 0}, 0))
	r.Interrupt = int(f.integer("interrupt", limits{1, MostSteps, 0}, 0))
	r.Seed = new(f.seed("seed", math.MaxUint64, s.newSeed))
	r.SubseedStrength = f.number("subseed_strength", interval{min: 0, max: 1}, 0)
	subseed := f.seed("subseed", math.MaxUint64, s.newSeed)
	if r.SubseedStrength > 0 || f.given("subseed") != nil {
		r.Subseed = &subseed
	}
	r.Scheduler = f.scheduler("scheduler", s.config.Schedulers)
	r.Preset = f.choice("preset", sdxl.PresetNames())
	size := limits{1, maxCoord, 0}
	for _, field := range []struct {
		name string
		into *sdxl.Size
	}{
		{"original_size", &r.OriginalSize}, {"target_size", &r.TargetSize},
		{"negative_original_size", &r.NegativeOriginalSize}, {"negative_target_size", &r.NegativeTargetSize},
	} {
		field.into.Height, field.into.Width = f.pair(field.name, size)
	}
	r.CropTop, r.CropLeft = f.pair("crops_coords_top_left", limits{0, maxCoord, 0})
	r.NegativeCropTop, r.NegativeCropLeft = f.pair("negative_crops_coords_top_left", limits{0, maxCoord, 0})
	r.AestheticScore = f.optionalNumber("aesthetic_score", interval{min: -maxScore, max: maxScore})
	r.NegativeAestheticScore = f.optionalNumber("negative_aesthetic_score", interval{min: -maxScore, max: maxScore})
	r.LoRAs, r.LoRADir = f.loras("loras", s.config.LoRADir), s.config.LoRADir
	r.Controls, r.T2IAdapters = s.controls(f, in), s.t2iAdapters(f, in)
	r.IPAdapters = s.ipAdapters(f, in)
	r.TextualInversions = s.config.TextualInversions
	r.Watermark = s.config.Watermark
}

// resolve fills in what the job's request does not give, and reports what is above the limits. The warning says which
// value was changed, "" if none was.
func (s *Server) resolve(f *fields, j *engine.Job) (warning string, err error) {
	if j.Upscale != nil {
		return "", s.resolveUpscale(f, j)
	}
	specs := s.specs(j.Name)
	if j.Model != engine.Refiner {
		j.Request = specs.Base.ChoosePreset(j.Request)
	}
	if j.Parameters, err = specs.Resolve(*j); err != nil {
		return "", f.ofImage(j, s.shared().WithinFolders(err))
	}
	if n := j.Parameters.Images; n > s.config.MaxBatch {
		return "", &sdxl.RequestError{Field: "num_images_per_prompt", Value: n, Allowed: fmt.Sprintf("1 to %d", s.config.MaxBatch)}
	}
	s.limitSize(f, j)
	if err := f.err(); err != nil {
		return "", err
	}
	if err := s.limitResult(j); err != nil {
		return "", err
	}
	if warning = s.limitSteps(f, j); warning != "" {
		j.Parameters, err = specs.Resolve(*j)
	}
	return warning, errors.Join(err, f.err())
}

// ofImage lets an error about the size of a job's image name the field of that, if there is one, in place of a size that
// no field has.
func (f *fields) ofImage(j *engine.Job, err error) error {
	var e *sdxl.RequestError
	r := &j.Request
	if r.Image != nil && f.source != "" && errors.As(err, &e) && (e.Field == "width" && r.Width == 0 || e.Field == "height" && r.Height == 0) {
		return &sdxl.RequestError{Field: f.source, Value: f.given(f.source), Allowed: "an image whose " + e.Field + " is " + e.Allowed, Err: e.Err}
	}
	return err
}

// names are the words that a field may be.
func names[T ~string](list []T) (words []string) {
	for _, word := range list {
		words = append(words, string(word))
	}
	return words
}
