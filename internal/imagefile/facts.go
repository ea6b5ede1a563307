package imagefile

import (
	"fmt"
	"strconv"
)

// Facts say how a picture was made, so that it can be made again.
type Facts struct {
	Prompt        string
	Negative      *string // nil where none was given
	Seed          uint64
	Steps         int
	Guidance      float64
	Scheduler     string // a request's name or, where it gave none, the model's class
	Sampler       string // the name, as of a request, that stands for the model's class; "" is as Scheduler
	Width, Height int    // pixels
	Strength      float64
	Source        string  // what picture an image-to-image run began with; "" is text to image, and Strength does not count
	Refiner       string  // the model that drew the last steps of an ensemble; "" is none
	DenoisingEnd  float64 // the fraction of the steps at which the run ended, or the refiner took over; 0 is the end
	Model         string
	Version       string // of the program
}

// Texts gives the facts as [Encode] takes them: under diffusers' names, and all in one text "parameters" as A1111
// writes it and as the programs around it read it (see
// https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#png-info).
func (f Facts) Texts() []Text {
	texts := []Text{{infotextKey, f.infotext()}, {"prompt", f.Prompt}}
	add := func(key, value string) { texts = append(texts, Text{key, value}) }
	if f.Negative != nil {
		add("negative_prompt", *f.Negative)
	}
	add("seed", strconv.FormatUint(f.Seed, 10))
	add("num_inference_steps", strconv.Itoa(f.Steps))
	add("guidance_scale", strconv.FormatFloat(f.Guidance, 'g', -1, 64))
	add("scheduler", f.Scheduler)
	if f.Source != "" {
		add("strength", strconv.FormatFloat(f.Strength, 'g', -1, 64))
		add("image", f.Source)
	}
	if f.Refiner != "" {
		add("refiner", f.Refiner)
	}
	if f.DenoisingEnd > 0 {
		add("denoising_end", strconv.FormatFloat(f.DenoisingEnd, 'g', -1, 64))
	}
	add("size", fmt.Sprintf("%dx%d", f.Width, f.Height))
	add("model", f.Model)
	add("version", f.Version)
	return texts
}
