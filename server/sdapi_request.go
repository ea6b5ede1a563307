package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/goxl/goxl/models/sdxl"
	"github.com/goxl/goxl/server/engine"
	"github.com/goxl/goxl/tokenizer/prompt"
)

// Images of one request of A1111's API.
const (
	sdMostIterations = 100
	sdMostImages     = 256
)

// sdRequest is what a body of txt2img or img2img asks for.
type sdRequest struct {
	fields   *fields
	img2img  bool
	job      engine.Job // of one image, without its seed; not resolved yet
	settings sdSettings
	size     sdxl.Size
	inits    []source          // of img2img: one, or one for each image of an iteration
	images   map[string]string // worker.Task's, but for those
	uploads  []source          // all that came with the request
	units    []sdUnit          // of ControlNet, until they are read

	infotextUnits map[string]string // by their keys

	seed, subseed     uint64
	batch, iterations int
	send, save        bool
	task              string // A1111's id of the task
	ignored, warnings []string
}

// sdRequest reads a user's body. Fields are read as pydantic does, and have A1111's defaults.
func (s *Server) sdRequest(ctx context.Context, owner string, f *fields, img2img bool) (*sdRequest, error) {
	q := &sdRequest{fields: f, img2img: img2img, job: engine.Job{Model: engine.Base}, images: map[string]string{}}
	q.readInfotext()
	override, err := s.sdOverride(q, owner)
	if err != nil {
		return nil, err
	}
	if err := q.refuse(s); err != nil {
		return nil, err
	}
	sampling, models := s.sdSampling(q), s.sdModels(q)
	restore := f.boolean("override_settings_restore_afterwards", true)
	var from sdSourceFields
	var hires error
	if img2img {
		from = q.sourceFields()
	} else {
		hires = s.sdHires(q)
	}
	if err := cmp.Or(sampling, models, hires, f.err()); err != nil { // all fields are read by then
		return nil, err
	}
	if img2img {
		if err := s.sdSource(ctx, q, from); err != nil {
			return nil, err
		}
	}
	if err := s.sdUnits(ctx, q); err != nil {
		return nil, err
	}
	q.ineffective()
	f.whole = json.RawMessage("{}") // nor is the body kept in memory, whose fields are in values
	if !restore {
		s.sdKeepOptions(owner, override)
	}
	return q, nil
}

// sdOverride reads the options as they are for this request of a user, which may give some of its own.
func (s *Server) sdOverride(q *sdRequest, owner string) (override map[string]json.RawMessage, err error) {
	f := q.fields
	if q.settings, err = s.sdSettings(owner); err != nil {
		return nil, err
	}
	const name = "override_settings"
	f.notes.form(name, &jsonschema.Schema{Type: "object"})
	raw := f.given(name)
	if raw == nil {
		return nil, nil
	}
	if raw[0] != '{' || json.Unmarshal(raw, &override) != nil {
		f.report(name, "dict_type", "Input should be a valid dictionary", nil)
		return nil, nil
	}
	ignored, err := s.sdReadOptions(f, []any{"body", name}, override, &q.settings)
	for _, key := range ignored {
		q.ignored = append(q.ignored, name+"."+key)
	}
	return override, err
}

// sdSampling reads the fields of a diffusion run, by A1111's names.
func (s *Server) sdSampling(q *sdRequest) error {
	f, r, v := q.fields, &q.job.Request, &q.settings
	text := func(name string) string {
		if p := f.optionalText(name); p != nil {
			return *p
		}
		return ""
	}
	r.PromptStyle, r.Emphasis, r.Preset = prompt.A1111, v.emphasis, sdxl.NoPreset // nothing is left for a preset to say
	r.Prompt = text("prompt")
	if negative := text("negative_prompt"); negative != "" { // an empty one is zeros in A1111, as None is in diffusers
		r.NegativePrompt = &negative
	}
	var err error
	if r.Prompt, err = s.sdPrompt(q, "prompt", r.Prompt); err != nil {
		return err
	}
	q.batch = int(f.integer("batch_size", limits{1, sdxl.MaxCount, 0}, 1))
	q.iterations = int(f.integer("n_iter", limits{1, sdMostIterations, 0}, 1))
	if q.batch*q.iterations > sdMostImages {
		f.report("n_iter", "value_error", fmt.Sprintf("Value error, n_iter × batch_size is %d images: must be at most %d", q.batch*q.iterations, sdMostImages), nil)
	}
	q.seed, q.subseed = q.readSeed("seed", s.newSeed), q.readSeed("subseed", s.newSeed)
	if r.SubseedStrength = f.number("subseed_strength", interval{min: 0, max: 1}, 0); r.SubseedStrength > 0 {
		r.Subseed = &q.subseed
	}
	r.Steps = int(f.integer("steps", limits{1, uint64(s.mostSteps()), 0}, 50))
	r.Guidance = new(f.number("cfg_scale", interval{min: 0, max: maxGuidance}, 7))
	r.ClipSkip, r.CropTop, r.CropLeft = v.clipSkip, v.crop[0], v.crop[1]
	r.AestheticScore, r.NegativeAestheticScore = v.scores[0], v.scores[1]
	r.TextualInversions, r.LoRADir, r.Watermark = s.config.TextualInversions, s.config.LoRADir, s.config.Watermark
	side := s.sideLimits(Model{Name: v.name, Specs: s.specs(v.name)})
	width, height := int(f.integer("width", side, 512)), int(f.integer("height", side, 512))
	q.size = sdxl.Size{Height: height, Width: width}
	if q.img2img {
		r.Strength = f.number("denoising_strength", interval{min: 0, max: 1, aboveMin: true}, 0.75)
	} else {
		r.Width, r.Height = width, height
	}
	q.send, q.save = f.boolean("send_images", true), f.boolean("save_images", false)
	q.task = text("force_task_id")
	if f.notes != nil {
		samplers, schedules := s.sdSamplerNames()
		f.notes.form("sampler_name", &jsonschema.Schema{Type: "string", Examples: values(samplers)})
		f.notes.form("scheduler", &jsonschema.Schema{Type: "string", Examples: values(schedules)})
	}
	// What is reported of these by diffusers' names has the value.
	if steps := f.given("steps"); steps != nil {
		f.set("num_inference_steps", steps)
	}
	return s.sdSamplerOf(q, text("sampler_name"), text("sampler_index"), text("scheduler"))
}

// sdPrompt is the text of a prompt without the adapters that it names, where the request wants none. Those that can't be
// there are an error.
func (s *Server) sdPrompt(q *sdRequest, field, text string) (string, error) {
	without, networks := prompt.Networks(text)
	switch {
	case q.fields.boolean("disable_extra_networks", false):
		return without, nil
	case s.config.LoRADir == "" && len(networks) > 0 && len(q.fields.problems) == 0:
		tag := "<" + networks[0].Kind + ":" + strings.Join(networks[0].Args, ":") + ">"
		return text, sdRefuse(badValue, field, " has %s: this server has no folder of adapters (-lora-dir)", beginning(tag))
	}
	return text, nil
}

// sdSamplerOf reads the sampler, its schedule and its η.
func (s *Server) sdSamplerOf(q *sdRequest, sampler, index, schedule string) (err error) {
	f, r := q.fields, &q.job.Request
	eta := f.optionalNumber("eta", interval{min: 0, max: 1})
	if err := f.err(); err != nil {
		return err
	}
	if r.Scheduler, err = s.sdSampler("", cmp.Or(sampler, index, "Euler"), schedule); err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(r.Scheduler, "k_ddim"):
		if r.Eta = &q.settings.eta; eta != nil {
			r.Eta = eta
		}
	case eta != nil && *eta != 1: // A1111's of ancestral samplers is 1, and others have none
		q.ignored = append(q.ignored, "eta")
	}
	return nil
}

// seeds are those of n images from the first on: each has the next one, but variations of one seed, of which each has the
// next subseed, as in A1111.
func (q *sdRequest) seeds(first, n int) (list []uint64, subseed uint64) {
	list = seeds(q.seed+uint64(first), n)
	if q.job.Request.SubseedStrength > 0 {
		list = slices.Repeat([]uint64{q.seed}, n)
	}
	return list, q.subseed + uint64(first)
}

// readSeed reads a seed so that each image has one after the other; -1 and none are random.
func (q *sdRequest) readSeed(name string, random func() uint64) uint64 {
	const of = 1<<32 - 2 // A1111's random seeds are below
	return q.fields.seed(name, math.MaxUint64-sdMostImages, func() uint64 { return random() % of })
}

// sdModels chooses the model, and the refiner that goes on where it ends.
func (s *Server) sdModels(q *sdRequest) error {
	f := q.fields
	q.job.Name, q.job.Model = q.settings.name, q.settings.model
	if q.job.Model == engine.Refiner && !q.img2img {
		return &failure{kind: badValue, detail: "sd_model_checkpoint is a refiner, which does img2img alone: must be a base"}
	}
	at := f.number("refiner_switch_at", interval{min: 0, max: 1}, 0)
	name := f.optionalText("refiner_checkpoint")
	if len(f.problems) > 0 || name == nil || *name == "" || strings.EqualFold(*name, "none") {
		return nil
	}
	of, model, err := s.sdModel("refiner_checkpoint", *name)
	if own, other := s.specs(q.job.Name).Refiner, s.specs(of).Refiner; err == nil && model == engine.Refiner && q.job.Model == engine.Base &&
		(own == nil || own.Path != other.Path) {
		return sdRefuse(badValue, "refiner_checkpoint", " is %q: must be the refiner of sd_model_checkpoint", beginning(*name))
	}
	switch {
	case err != nil:
		return err
	case model == q.job.Model: // as in A1111, nothing to switch to
		return nil
	case model == engine.Base:
		return &failure{kind: badValue, detail: "refiner_checkpoint is a base: must be a refiner"}
	case at == 1:
		return nil // the switch is never reached
	case at == 0 && f.given("refiner_switch_at") != nil:
		return &failure{kind: badValue, detail: "refiner_switch_at is 0: must be above 0, or sd_model_checkpoint the refiner"}
	}
	q.job.Model, q.job.DenoisingEnd = engine.Ensemble, cmp.Or(at, sdxl.DefaultDenoisingEnd)
	return nil
}
