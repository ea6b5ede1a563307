package sdxl

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Hires is A1111's hires fix: what text-to-image gives is enlarged and goes through image-to-image in that size. The
// second pass draws its noise from generators of the same seeds that begin anew, as A1111's does, and diffusers'
// image-to-image from latents with a new generator. Where an upscaler of images is used, the VAE's posterior is not
// sampled but its mean is taken, so that nothing is drawn for it. GuidancePerStep counts the steps of both passes, as
// Progress and OnStep do: its last scale holds for all steps behind it, those of the second pass too. Model.Generate and
// GenerateBatch do it; a batch computes such a request by itself. A first pass that is stopped is the result. Before its
// first step there must be memory for both passes, and for the upscaler in its smallest tiles.
type Hires struct {
	Scale         float64 // of width and height; 0 is 2 where there are no sizes. Sides are rounded down to multiples of 8
	Width, Height int     // in place of Scale, multiples of 8: of both, what is beyond the first pass's aspect is cut off; one alone keeps the aspect
	Steps         int     // that the second pass takes; 0 is the request's
	Strength      float64 // of the second pass, in (0, 1]; 0 is 0.7
	// Upscaler is a name of HiresUpscalers, in A1111's letters or in small ones, or an ESRGAN file's path. An image that a
	// model's scale does not bring to the size goes through it up to three times, and is resized by Lanczos. "" is latent.
	Upscaler string

	Prompt         string  // of the second pass, with its adapters, for both text encoders; "" is the request's prompts
	NegativePrompt *string // likewise; nil is the request's
	Scheduler      string  // of the second pass; "" is the request's
}

// HiresUpscalers are the upscalers that need no file.
func HiresUpscalers() []string {
	names := slices.Concat(keys(latentModes), keys(filters))
	slices.Sort(names)
	return names
}

func keys[V any](m map[string]V) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	return names
}

// HiresParameters are those of the second pass.
type HiresParameters struct {
	Scale    float64 `json:"scale,omitempty"` // 0 where sizes were given
	Width    int     `json:"width"`
	Height   int     `json:"height"`
	Steps    int     `json:"num_inference_steps"` // that it takes
	Strength float64 `json:"strength"`
	Upscaler string  `json:"upscaler"` // a file's name without its folder

	// "" and nil are those of the first pass.
	Prompt         string  `json:"prompt,omitempty"`
	NegativePrompt *string `json:"negative_prompt,omitempty"`
	Scheduler      string  `json:"scheduler,omitempty"`
}

// hires is a resolved second pass.
type hires struct {
	request  Request // but for its latents
	upscaler string
	latent   bool // upscaler is a mode of latentModes
	upscaled Size // before it is cut to the result's
	steps    int  // evaluations of the UNet
	whole    int  // steps, which Heun's methods evaluate it twice in
}

// MaxHiresScale is the most that Hires.Scale may be.
const MaxHiresScale = 8

const (
	defaultHiresScale    = 2
	defaultHiresStrength = 0.7
)

// resolveHires checks the second pass and says what it is made with. Its steps are those of A1111 (modules/sd_samplers_common.py,
// setup_img2img_steps): as many as asked for are taken, the last ones of a longer schedule.
func (s *Spec) resolveHires(q *resolved) error {
	h := q.request.Hires
	if h == nil {
		return nil
	}
	for _, c := range []struct {
		is   bool
		what string
	}{
		{q.Task != TextToImage, "an image"}, {q.DenoisingEnd != 0, "denoising_end"}, {q.Interrupt != 0, "interrupt"},
		{len(q.Timesteps) > 0, "custom timesteps"}, {len(q.Sigmas) > 0, "custom sigmas"},
	} {
		if c.is {
			return bad("hires", "given", "absent with %s", c.what)
		}
	}
	p := &HiresParameters{Scale: h.Scale, Steps: cmp.Or(h.Steps, q.Steps), Strength: cmp.Or(h.Strength, defaultHiresStrength)}
	switch {
	case !(p.Strength > 0 && p.Strength <= 1):
		return bad("hires.strength", h.Strength, "above 0, up to 1")
	case p.Steps < 1 || p.Steps > s.Scheduler.NumTrainTimesteps:
		return bad("hires.steps", h.Steps, "1 to %d, or 0 for the request's", s.Scheduler.NumTrainTimesteps)
	}
	upscaled, size, err := h.sizes(q.size, p)
	if err != nil {
		return err
	}
	p.Width, p.Height = size.Width, size.Height
	second := &hires{upscaled: upscaled, upscaler: h.upscaler()}
	_, second.latent = latentModes[second.upscaler]
	p.Upscaler = filepath.Base(second.upscaler)

	r := q.request
	r.Hires, r.Latents, r.Width, r.Height = nil, nil, 0, 0
	r.Image = Blank{size}
	r.Steps = int(float64(p.Steps) / min(p.Strength, 0.999))
	if r.Steps > s.Scheduler.NumTrainTimesteps {
		return bad("hires.strength", p.Strength, "at least %.3g for %d steps, which are the last ones of a schedule of %d at most",
			float64(p.Steps)/float64(s.Scheduler.NumTrainTimesteps), p.Steps, s.Scheduler.NumTrainTimesteps)
	}
	r.Strength = min((float64(p.Steps)+0.5)/float64(r.Steps), 1) // of which diffusers takes the whole steps
	if err := h.useOwn(&r, p); err != nil {
		return err
	}
	two, err := resolvePart(&r, q.steps(), s.resolve)
	if err != nil {
		return err
	}
	if scales, most := len(q.GuidancePerStep), q.steps()+two.steps(); scales > most {
		return bad("guidance_scale", fmt.Sprintf("a list of %d", scales), "one number, or a list of up to %d: one for each of the %d steps of the first pass, then of the %d of the second",
			most, q.steps(), two.steps())
	}
	if h.Scheduler != "" {
		p.Scheduler = two.Scheduler
	}
	second.request, second.steps, second.whole = r, len(two.schedule.Steps), two.steps()
	q.Hires, q.hires = p, second
	return nil
}

// useOwn gives the request of the second pass what it has of its own.
func (h *Hires) useOwn(r *Request, p *HiresParameters) error {
	if h.Scheduler != "" {
		r.Scheduler = h.Scheduler
	}
	if h.Prompt == "" && h.NegativePrompt == nil {
		return nil
	}
	if len(r.Prompts) > 0 || r.Embeddings != nil {
		return bad("hires.prompt", "given", "absent with a list of prompts, or embeddings")
	}
	if p.Prompt = h.Prompt; h.Prompt != "" {
		r.Prompt, r.Prompt2 = h.Prompt, ""
	}
	if p.NegativePrompt = h.NegativePrompt; h.NegativePrompt != nil {
		r.NegativePrompt, r.NegativePrompt2 = h.NegativePrompt, nil
	}
	return nil
}

// UpscalerFile is Upscaler where that is a file's path, "" where it is a name of HiresUpscalers.
func (h *Hires) UpscalerFile() string {
	u := h.upscaler()
	if _, latent := latentModes[u]; latent || filters[u] != nil {
		return ""
	}
	return u
}

// upscaler is the name in small letters where it is known, else the path.
func (h *Hires) upscaler() string {
	name := strings.ToLower(cmp.Or(h.Upscaler, "latent"))
	if _, latent := latentModes[name]; latent || filters[name] != nil {
		return name
	}
	return h.Upscaler
}

// sizes are what the first pass's size is enlarged to, and what of that is kept. Scale is set where it counts.
func (h *Hires) sizes(first Size, p *HiresParameters) (upscaled, kept Size, err error) {
	down := func(n int) int { return n / 8 * 8 }
	for _, side := range []struct {
		field string
		value int
	}{{"hires.width", h.Width}, {"hires.height", h.Height}} {
		if side.value < 0 || side.value%8 != 0 || side.value > MaxSide {
			return upscaled, kept, bad(side.field, side.value, "a multiple of 8 up to %d, or 0", MaxSide)
		}
	}
	switch {
	case h.Width == 0 && h.Height == 0:
		p.Scale = cmp.Or(h.Scale, defaultHiresScale)
		if !(p.Scale >= 1 && p.Scale <= MaxHiresScale) {
			return upscaled, kept, bad("hires.scale", h.Scale, "1 to %d", MaxHiresScale)
		}
		upscaled = Size{down(int(float64(first.Height) * p.Scale)), down(int(float64(first.Width) * p.Scale))}
		kept = upscaled
	case h.Scale != 0:
		return upscaled, kept, bad("hires.scale", h.Scale, "absent where there is a width or a height")
	case h.Height == 0:
		upscaled = Size{down(h.Width * first.Height / first.Width), h.Width}
		kept = upscaled
	case h.Width == 0:
		upscaled = Size{h.Height, down(h.Height * first.Width / first.Height)}
		kept = upscaled
	default:
		kept = Size{h.Height, h.Width}
		upscaled = Size{max(h.Height, down(h.Width*first.Height/first.Width)), h.Width}
		if first.Width*h.Height >= h.Width*first.Height { // the first pass is the wider one
			upscaled = Size{h.Height, max(h.Width, down(h.Height*first.Width/first.Height))}
		}
	}
	if _, err := checkSize(upscaled, 8); err != nil {
		return upscaled, kept, bad("hires.scale", fmt.Sprintf("%g, which gives %d×%d", p.Scale, upscaled.Width, upscaled.Height), "one that gives sides of 8 to %d", MaxSide)
	}
	return upscaled, kept, nil
}
