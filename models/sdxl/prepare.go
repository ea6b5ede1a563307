package sdxl

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/goxl/goxl/scheduler"
)

// Limits of a request, beyond which memory is certain to run out.
const (
	MaxCount = 64   // pictures of a batch
	MaxSide  = 8192 // pixels of a picture, either way
)

// Check tells whether a request can be done, without doing it. A field that can't comes back as a *RequestError.
func (p *Pipeline) Check(r Request, imageToImage bool) error {
	_, _, err := p.prepare(&r, imageToImage)
	return err
}

// prepare fills in the request's defaults, checks it, and computes size and steps.
func (p *Pipeline) prepare(r *Request, imageToImage bool) (Size, *scheduler.Schedule, error) {
	bad := func(field string, value any, allowed string, args ...any) (Size, *scheduler.Schedule, error) {
		return Size{}, nil, &RequestError{Field: field, Value: value, Allowed: fmt.Sprintf(allowed, args...)}
	}
	if p.encoder1 == nil && !imageToImage {
		return Size{}, nil, &ModelError{p.path, errRefinerAsBase}
	}
	texts := map[string]string{"prompt": r.Prompt, "prompt_2": r.Prompt2, "negative_prompt_2": r.Negative2}
	if r.Negative != nil {
		texts["negative_prompt"] = *r.Negative
	}
	for field, text := range texts {
		if !utf8.ValidString(text) {
			return bad(field, fmt.Sprintf("%q", text), "UTF-8 text")
		}
	}
	if r.Count < 1 || r.Count > MaxCount {
		return bad("num_images_per_prompt", r.Count, "1 to %d", MaxCount)
	}
	for field, v := range map[string]float64{"guidance_scale": r.Guidance, "aesthetic_score": r.AestheticScore, "negative_aesthetic_score": r.NegativeAestheticScore} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return bad(field, v, "a finite number")
		}
	}
	for field, v := range map[string]float64{"guidance_rescale": r.GuidanceRescale, "eta": r.Eta} {
		if !(v >= 0 && v <= 1) {
			return bad(field, v, "0 to 1")
		}
	}
	layers := p.encoder2.Config.Layers
	if p.encoder1 != nil {
		layers = min(layers, p.encoder1.Config.Layers)
	}
	if r.ClipSkip < 0 || r.ClipSkip > layers-1 {
		return bad("clip_skip", r.ClipSkip, "0 to %d", layers-1)
	}
	if r.DenoisingEnd != 0 && !(r.DenoisingEnd > 0 && r.DenoisingEnd < 1) {
		return bad("denoising_end", r.DenoisingEnd, "above 0 and below 1")
	}
	size, err := p.size(r, imageToImage)
	if err != nil {
		return Size{}, nil, err
	}
	r.Height, r.Width = size.Height, size.Width
	if r.Latents != nil {
		f := p.vae.Config.ScaleFactor()
		if err := r.Latents.check("latents", [4]int{r.Count, p.unet.config.InChannels, size.Height / f, size.Width / f}); err != nil {
			return Size{}, nil, err
		}
	}
	schedule, err := p.schedule(r, imageToImage)
	return size, schedule, err
}

var errRefinerAsBase = errors.New("this is a refiner: it redraws pictures and draws none from text; give a base model, and this one as the refiner")

// size is the result's, checked.
func (p *Pipeline) size(r *Request, imageToImage bool) (Size, error) {
	f := p.vae.Config.ScaleFactor()
	multiple := f
	if !imageToImage {
		multiple = max(f, 8) // the text-to-image pipeline wants multiples of 8 whatever the VAE
	}
	check := func(s Size) (Size, error) {
		for _, side := range []struct {
			field string
			value int
		}{{"height", s.Height}, {"width", s.Width}} {
			if side.value < multiple || side.value > MaxSide || side.value%multiple != 0 {
				return s, &RequestError{Field: side.field, Value: side.value, Allowed: fmt.Sprintf("a multiple of %d from %d to %d", multiple, multiple, MaxSide)}
			}
		}
		return s, nil
	}
	if !imageToImage {
		height, width := p.defaultSize()
		if r.Height != 0 {
			height = r.Height
		}
		if r.Width != 0 {
			width = r.Width
		}
		return check(Size{height, width})
	}
	var s Size
	switch {
	case (r.Image == nil) == (r.ImageLatents == nil):
		return s, &RequestError{Field: "image", Value: "given twice or not at all", Allowed: "one picture, or its latents"}
	case r.DenoisingStart != 0 && !(r.DenoisingStart > 0 && r.DenoisingStart < 1):
		return s, &RequestError{Field: "denoising_start", Value: r.DenoisingStart, Allowed: "above 0 and below 1"}
	case r.DenoisingStart == 0 && !(r.Strength > 0 && r.Strength <= 1):
		return s, &RequestError{Field: "strength", Value: r.Strength, Allowed: "above 0, up to 1"}
	case r.ImageLatents != nil:
		x := r.ImageLatents
		want := [4]int{x.Shape[0], p.vae.Config.LatentChannels, x.Shape[2], x.Shape[3]}
		if x.Shape[0] < 1 || r.Count%x.Shape[0] != 0 {
			return s, &RequestError{Field: "num_images_per_prompt", Value: r.Count, Allowed: fmt.Sprintf("a multiple of the %d pictures given", x.Shape[0])}
		}
		if err := x.check("image", want); err != nil {
			return s, err
		}
		s = Size{x.Shape[2] * f, x.Shape[3] * f}
	default:
		r.Image = fitToFactor(r.Image, f)
		b := r.Image.Bounds()
		s = Size{b.Dy(), b.Dx()}
	}
	return check(s)
}

// schedule computes the steps of a request.
func (p *Pipeline) schedule(r *Request, imageToImage bool) (*scheduler.Schedule, error) {
	config := p.scheduler
	if r.Scheduler != "" {
		var err error
		if config, err = config.As(r.Scheduler); err != nil {
			return nil, &RequestError{Field: "scheduler", Value: fmt.Sprintf("%q", r.Scheduler), Allowed: "one of " + strings.Join(p.scheduler.Substitutes(), ", "), Err: err}
		}
	} else if err := p.ownScheduler(); err != nil {
		return nil, err
	}
	o := scheduler.Options{Timesteps: r.Timesteps, Sigmas: r.Sigmas, DenoisingEnd: r.DenoisingEnd, Eta: r.Eta}
	if len(r.Timesteps) == 0 && len(r.Sigmas) == 0 {
		if o.Steps = r.Steps; r.Steps < 1 || r.Steps > config.NumTrainTimesteps {
			return nil, &RequestError{Field: "num_inference_steps", Value: r.Steps, Allowed: fmt.Sprintf("1 to %d", config.NumTrainTimesteps)}
		}
	}
	if imageToImage {
		if o.DenoisingStart = r.DenoisingStart; r.DenoisingStart == 0 {
			o.Strength = r.Strength
		}
	}
	s, err := config.Schedule(o)
	switch {
	case err == nil:
	case len(r.Timesteps) > 0:
		return nil, &RequestError{Field: "timesteps", Value: r.Timesteps, Allowed: "timesteps that the scheduler can run", Err: err}
	case len(r.Sigmas) > 0:
		return nil, &RequestError{Field: "sigmas", Value: r.Sigmas, Allowed: "sigmas that the scheduler can run", Err: err}
	default:
		return nil, &RequestError{Field: "num_inference_steps", Value: r.Steps, Allowed: p.enoughSteps(o), Err: err}
	}
	return s, nil
}

// noStepWarning tells of a run whose share of the steps holds none.
func (p *Pipeline) noStepWarning(r *Request, imageToImage bool) string {
	var cuts []string
	if imageToImage && r.DenoisingStart > 0 {
		cuts = append(cuts, fmt.Sprintf("denoising_start %v", r.DenoisingStart))
	}
	if r.DenoisingEnd > 0 {
		cuts = append(cuts, fmt.Sprintf("denoising_end %v", r.DenoisingEnd))
	}
	model := "the base"
	if p.encoder1 == nil {
		model = "the refiner"
	}
	return fmt.Sprintf("%s has no step to do: with %s no timestep falls to it; the latents are passed on as they are", model, strings.Join(cuts, " and "))
}

// enoughSteps says which number of steps would leave one to run.
func (p *Pipeline) enoughSteps(o scheduler.Options) string {
	if o.Strength > 0 && int(float64(o.Steps)*o.Strength) == 0 {
		n := o.Steps
		for int(float64(n)*o.Strength) == 0 {
			n++
		}
		return fmt.Sprintf("at least %d, so that strength %v leaves one to run", n, o.Strength)
	}
	return "a number that the scheduler can do"
}
