package picture

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
	Width, Height int    // pixels
	Strength      float64
	Source        string // what picture an image-to-image run began with; "" is text to image, and Strength does not count
	Model         string
	Version       string // of the program
}

// Texts gives the facts under diffusers' names, as [Encode] takes them.
func (f Facts) Texts() []Text {
	texts := []Text{{"prompt", f.Prompt}}
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
	add("size", fmt.Sprintf("%dx%d", f.Width, f.Height))
	add("model", f.Model)
	add("version", f.Version)
	return texts
}
