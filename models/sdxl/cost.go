package sdxl

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// Cost is about how long a model's images take on a device: seconds for one image, of its pixels. Text encoders are
// left out, since they take less than a step does at the model's own size.
//
// Parameters name files and do not say what is in them, so that what steers and enlarges is taken to be the largest that
// is published: a ControlNet of the UNet's whole way down, an IP-Adapter plus with ViT-bigG/14, a RealESRGAN_x4plus.
type Cost struct {
	Step           Polynomial // one evaluation of the UNet with guidance
	Encode, Decode Polynomial // the autoencoder's

	Control      Polynomial // one evaluation of a ControlNet with guidance
	ControlImage Polynomial // what it makes of its image, once a pass for all images
	T2IAdapter   Polynomial // a T2I-Adapter's features, once a pass for all images
	ImagePrompt  Polynomial // what an image of an IP-Adapter adds to Step
	ImageEncode  float64    // what its encoder takes, once a pass for all images
	Upscale      Polynomial // a model that enlarges the image, of the pixels that it reads
}

// Polynomial has the factors of 1, n and n².
type Polynomial [3]float64

// At is the value at n.
func (p Polynomial) At(n float64) float64 { return p[0] + n*(p[1]+n*p[2]) }

// Seconds is about how long a request takes, both passes of one with hires; image-to-image computes the strength's
// fraction of the steps.
func (c Cost) Seconds(p Parameters) float64 {
	pixels, images := float64(p.Width)*float64(p.Height), float64(p.Images)
	sum, steps := c.steering(p, pixels), float64(p.Steps)
	if p.Task.ofImage() {
		sum += images * c.Encode.At(pixels)
		if p.Strength > 0 {
			steps *= p.Strength
		}
	}
	sum += steps * c.step(p, pixels)
	h := p.Hires
	if h == nil {
		return sum + images*c.Decode.At(pixels)
	}
	second := float64(h.Width) * float64(h.Height)
	if !isLatentMode(h.Upscaler) {
		sum += images * (c.Decode.At(pixels) + c.Encode.At(second))
		if _, filter := filters[h.Upscaler]; !filter {
			sum += images * c.Upscale.At(pixels)
		}
	}
	p.Scheduler, p.Steps = cmp.Or(h.Scheduler, p.Scheduler), h.Steps
	return sum + c.steering(p, second) + float64(h.Steps)*c.step(p, second) + images*c.Decode.At(second)
}

func isLatentMode(upscaler string) bool {
	_, is := latentModes[upscaler]
	return is
}

// step is about how long one of a pass's steps takes for all images.
func (c Cost) step(p Parameters, pixels float64) float64 {
	sides := p.evaluations() // where Step and Control are of two
	once := sides / 2 * c.Step.At(pixels)
	for _, a := range p.IPAdapters {
		if a.Scale != 0 || a.Scales != nil {
			once += sides / 2 * float64(a.Images) * c.ImagePrompt.At(pixels)
		}
	}
	unions := map[string]bool{} // which take all their images in one evaluation
	for _, net := range p.Controls {
		if net.Mode != "" && unions[net.Name] {
			continue
		}
		unions[net.Name] = true
		own := sides
		if net.GuessMode {
			own = 1
		}
		once += own / 2 * (net.End - net.Start) * c.Control.At(pixels)
	}
	return float64(p.Images) * float64(scheduler.CallsPerStep(cmp.Or(p.Scheduler, p.SchedulerClass))) * once
}

// steering is what a pass takes once for what steers it by images.
func (c Cost) steering(p Parameters, pixels float64) float64 {
	sum := float64(len(p.T2IAdapters))*c.T2IAdapter.At(pixels) + float64(len(p.Controls))*c.ControlImage.At(pixels)
	for _, a := range p.IPAdapters {
		sum += float64(a.Images) * c.ImageEncode
	}
	return sum
}

// evaluations are the UNet's of a sample at a step, on the average: one for each side of guidance, and the perturbed
// one.
func (p Parameters) evaluations() float64 {
	guided := func(scale float64) bool { return scale > 1 }
	n := 1.0
	switch {
	case scheduler.NeedsUnconditional(cmp.Or(p.Scheduler, p.SchedulerClass)):
		n++
	case guided(p.Guidance) || slices.ContainsFunc(p.GuidancePerStep, guided):
		first, last := insideInterval(p.GuidanceStart, p.GuidanceEnd, max(1, p.Steps))
		n += float64(max(0, last-first)) / float64(max(1, p.Steps))
	}
	if p.PAGScale > 0 {
		n++
	}
	return n
}

// Cost is the model's on a device that does so many floating point operations a second, a multiply-add as two. It is
// the operations of the model's plans, which are a polynomial of the pixels: convolutions take a pixel as many each,
// attention as many as there are pixels.
func (m *Model) Cost(flops float64) (Cost, error) {
	if !(flops > 0) {
		return Cost{}, fmt.Errorf("sdxl: %v operations a second: must be above 0", flops)
	}
	if err := m.check(); err != nil {
		return Cost{}, err
	}
	f := m.VAE.Config.ScaleFactor()
	unit := 4 * f << (len(m.UNet.Config.BlockOutChannels) - 1) // every level of the UNet halves it without a rest
	var c Cost
	parts := append([]costPart{
		{&c.Step, func(side int) func(*nn.Builder) { return sampling(m.UNet, m.costShape(side)) }},
		{&c.Encode, func(side int) func(*nn.Builder) { return m.VAE.Graph(false, side, side) }},
		{&c.Decode, func(side int) func(*nn.Builder) { return m.decoder().Graph(true, side, side) }},
	}, m.steeringParts(&c)...)
	for _, part := range parts {
		var n, y [3]float64
		for i := range n {
			side := unit << i
			operations, err := m.operations(part.build(side))
			if err != nil {
				return Cost{}, err
			}
			n[i], y[i] = float64(side*side), operations/flops
		}
		*part.into = through(n, y)
	}
	if m.spec.refiner() {
		return c, nil
	}
	for i := range c.Step {
		c.ImagePrompt[i] -= c.Step[i] // it was the whole step with one
		// They were the net for both sides of guidance, and for one, each with the image that is the same for both.
		both, one := c.Control[i], c.ControlImage[i]
		c.Control[i], c.ControlImage[i] = 2*(both-one), 2*one-both
	}
	return c, m.imageCosts(&c, flops)
}

// costPart is a polynomial of Cost, and what is computed for an image of so many pixels a side.
type costPart struct {
	into  *Polynomial
	build func(side int) func(*nn.Builder)
}

// costShape is that of a step with guidance.
func (m *Model) costShape(side int) shape {
	s := m.newShape(1, Size{side, side})
	s.guided = true
	return s
}

// operations counts those of a graph.
func (m *Model) operations(build func(*nn.Builder)) (float64, error) {
	g, err := nn.Build(m.host.device, build)
	if err != nil {
		return 0, err
	}
	return float64(g.Plan.FLOPs()), nil
}

// through is the polynomial with the values y at n.
func through(n, y [3]float64) Polynomial {
	first := (y[1] - y[0]) / (n[1] - n[0])
	second := ((y[2]-y[1])/(n[2]-n[1]) - first) / (n[2] - n[0])
	return Polynomial{y[0] - n[0]*first + n[0]*n[1]*second, first - (n[0]+n[1])*second, second}
}
