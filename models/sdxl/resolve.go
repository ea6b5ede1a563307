package sdxl

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"

	"github.com/goxl/goxl/scheduler"
)

// Limits of a request, beyond which memory is certain to run out.
const (
	MaxCount = 64   // images of a batch
	MaxSide  = 8192 // pixels of an image, either way

	MaxImagePixels = 1 << 28 // of the images of a request together, all of which are held while it is computed
)

var errRefinerAsBase = errors.New("this is a refiner, which does image-to-image alone; give a base model, and this one as the refiner")

// resolved is a request with every value that is used.
type resolved struct {
	Parameters
	request   Request // for its images, tensors and callbacks
	size      Size    // the result's
	latents   []int   // [N, C, H, W]
	schedule  *scheduler.Schedule
	preset    *Preset // nil is none
	hires     *hires  // nil is none
	loras     []LoRA  // the request's, and those that prompts name
	images    []imagePrompt
	guidance  []float64 // a scale for each of schedule's steps
	perturbed []bool    // by self-attention, of PAG; nil without

	canvas       *canvas // of inpainting, see inpaintCanvas
	controlSteps int     // evaluations that fractions of ControlNets are of: those after strength, with those after denoising_end
	firstStep    int     // steps that were taken before, for the schedules of prompts
	warnings     []string
}

// Resolve fills in the model's defaults and checks the request, without computing anything: what it returns is what
// Result.Parameters will be, but for the seeds of a request that gives none, the model's hash, an interruption, and what
// only a device knows. A field that can't be done comes back as a *RequestError, a model that can't do the task as a *ModelError.
// Only an image's Bounds are looked at, and of files the names: a preset that goes with a file's content is that of
// ChoosePreset's request.
func (s *Spec) Resolve(r Request) (Parameters, error) {
	q, err := s.resolve(r)
	if err != nil {
		return Parameters{}, err
	}
	return q.Parameters, nil
}

func (s *Spec) resolve(r Request) (*resolved, error) {
	q := &resolved{request: r, Parameters: Parameters{Task: taskOf(r), ImagesPerPrompt: cmp.Or(r.ImagesPerPrompt, 1), Model: filepath.Base(s.Path)}}
	if err := r.checkImages(); err != nil {
		return nil, err
	}
	if err := s.imageInputs(q.Task); err != nil {
		return nil, err
	}
	if s.refiner() && q.Task == TextToImage {
		return nil, &ModelError{s.Path, errRefinerAsBase}
	}
	if err := s.resolveLoRAsOf(q); err != nil {
		return nil, err
	}
	if err := s.usePreset(q); err != nil {
		return nil, err
	}
	s.fill(q)
	for _, check := range []func(*resolved) error{checkPreview, s.checkTextualInversions, checkNumbers, checkSubseed, s.checkClipSkip, s.checkIPAdapters, s.resolveInpaint, s.resolveSize, s.resolveControls, s.resolveSteps, checkGuidance, s.checkInterval, s.resolvePAG, s.resolveFreeU, s.resolveHires} {
		if err := check(q); err != nil {
			return nil, err
		}
	}
	q.warnings = append(q.warnings, s.uneven(r.TextualInversions)...)
	if w := s.sizeWarning(q.size); w != "" {
		q.warnings = append(q.warnings, w)
	}
	if s.forceZeros && slices.ContainsFunc(q.Prompts, secondAlone) && q.guided() {
		q.warnings = append(q.warnings, "negative_prompt_2 is not used without negative_prompt: the model has force_zeros_for_empty_prompt")
	}
	if len(q.schedule.Steps) == 0 {
		q.warnings = append(q.warnings, s.noStepWarning(q))
	}
	return q, nil
}

// resolveLoRAsOf resolves what the adapters are told by, and these.
func (s *Spec) resolveLoRAsOf(q *resolved) error {
	for _, check := range []func(*resolved) error{s.resolvePrompts, resolveStyle, s.resolveLoRAs} {
		if err := check(q); err != nil {
			return err
		}
	}
	return nil
}

// fill fills in what the request and its preset say, and the model's defaults.
func (s *Spec) fill(q *resolved) {
	r := &q.request
	q.Steps, q.Timesteps, q.Sigmas = cmp.Or(r.Steps, s.defaults.steps), slices.Clone(r.Timesteps), slices.Clone(r.Sigmas)
	q.Guidance, q.GuidancePerStep = or(r.Guidance, s.defaults.guidance), slices.Clone(r.GuidancePerStep)
	q.GuidanceRescale, q.Eta, q.ClipSkip, q.Interrupt = or(r.GuidanceRescale, s.defaults.rescale), or(r.Eta, 0), r.ClipSkip, r.Interrupt
	q.Seed, q.Seeds, q.NoiseGiven = or(r.Seed, 0), slices.Clone(r.Seeds), r.Latents != nil
	if q.SubseedStrength = r.SubseedStrength; r.SubseedStrength != 0 {
		q.Subseed = or(r.Subseed, 0)
	}
	q.Crop, q.NegativeCrop = [2]int{r.CropTop, r.CropLeft}, [2]int{r.NegativeCropTop, r.NegativeCropLeft}
	q.NegativeOriginalSize, q.NegativeTargetSize = r.NegativeOriginalSize, r.NegativeTargetSize
	q.DenoisingEnd, q.Watermark = r.DenoisingEnd, r.Watermark
	if len(r.Seeds) > 0 {
		q.Seed = r.Seeds[0]
	}
	if s.aestheticScore {
		q.AestheticScore, q.NegativeAestheticScore = new(or(r.AestheticScore, 6)), new(or(r.NegativeAestheticScore, 2.5))
	}
	if q.Task.ofImage() {
		if q.DenoisingStart = r.DenoisingStart; r.DenoisingStart == 0 {
			q.Strength = cmp.Or(r.Strength, s.defaultStrength(q.Task))
		}
	}
}

// defaultStrength is that of a task with an image. A model's own is of image-to-image.
func (s *Spec) defaultStrength(t Task) float64 {
	if t == Inpaint {
		return DefaultInpaintStrength
	}
	return s.defaults.strength
}

// secondAlone reports whether a prompt has a negative one for the second text encoder alone.
func secondAlone(p Prompt) bool { return p.NegativePrompt == nil && or(p.NegativePrompt2, "") != "" }

// taskOf is what a request asks for by what it holds.
func taskOf(r Request) Task {
	switch {
	case r.inpaints():
		return Inpaint
	case r.Image != nil || r.ImageLatents != nil:
		return ImageToImage
	}
	return TextToImage
}

// or is what p points to, or otherwise if it points to nothing.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
