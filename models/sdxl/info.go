package sdxl

import (
	"github.com/goxl/goxl/models/clip"
	"github.com/goxl/goxl/models/unet"
	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
)

// Info describes an open model.
type Info struct {
	Path          string
	Refiner       bool
	Width, Height int     // default size in pixels
	Steps         int     // default number of steps
	Guidance      float64 // default guidance scale
	Strength      float64 // default share of the steps to redraw, of image to image
	ScaleFactor   int     // sizes are multiples of this
	Scheduler     string  // the class
	Sampler       string  // the name that stands for it in a Request; "" if none does
	Parameters    int64
}

// Info describes the model.
func (p *Pipeline) Info() Info {
	height, width := p.defaultSize()
	return Info{
		Steps: p.defaults.steps, Guidance: p.defaults.guidance, Strength: p.defaults.strength,
		Path: p.path, Refiner: p.encoder1 == nil, Width: width, Height: height, ScaleFactor: p.vae.Config.ScaleFactor(), Scheduler: p.scheduler.Class, Sampler: p.scheduler.Name(),
		Parameters: p.parameters,
	}
}

// defaultSize is goxl.json's, else the UNet's sample_size in pixels.
func (p *Pipeline) defaultSize() (height, width int) {
	if p.defaults.height > 0 {
		return p.defaults.height, p.defaults.width
	}
	f := p.vae.Config.ScaleFactor()
	side := unet.PerLevel{128}
	if len(p.unet.config.SampleSize) > 0 {
		side = p.unet.config.SampleSize
	}
	return side.At(0) * f, side[len(side)-1] * f
}

// countParameters adds up the components, shared ones included.
func (p *Pipeline) countParameters() int64 {
	n := nn.Parameters(p.unet.model) + nn.Parameters(clip.New(p.encoder2.Config)) + nn.Parameters(vae.New(p.vae.Config))
	if p.encoder1 != nil {
		n += nn.Parameters(clip.New(p.encoder1.Config))
	}
	return n
}
