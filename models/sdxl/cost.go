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
type Cost struct {
	Step           Polynomial // one evaluation of the UNet with guidance
	Encode, Decode Polynomial // the autoencoder's
}

// Polynomial has the factors of 1, n and n².
type Polynomial [3]float64

// At is the value at n.
func (p Polynomial) At(n float64) float64 { return p[0] + n*(p[1]+n*p[2]) }

// Seconds is about how long a request takes; image-to-image computes the strength's fraction of the steps.
func (c Cost) Seconds(p Parameters) float64 {
	pixels, images := float64(p.Width)*float64(p.Height), float64(p.Images)
	once, step := images*c.Decode.At(pixels), images*c.Step.At(pixels)*float64(scheduler.CallsPerStep(cmp.Or(p.Scheduler, p.SchedulerClass)))
	step *= p.evaluations() / 2
	if p.Task.ofImage() {
		once += images * c.Encode.At(pixels)
		if p.Strength > 0 {
			step *= p.Strength
		}
	}
	return once + step*float64(p.Steps)
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
	for _, part := range []struct {
		into  *Polynomial
		build func(side int) func(*nn.Builder)
	}{
		{&c.Step, func(side int) func(*nn.Builder) {
			guided := m.newShape(1, Size{side, side})
			guided.guided = true
			return sampling(m.UNet, guided)
		}},
		{&c.Encode, func(side int) func(*nn.Builder) { return m.VAE.Graph(false, side, side) }},
		{&c.Decode, func(side int) func(*nn.Builder) { return m.decoder().Graph(true, side, side) }},
	} {
		var n, y [3]float64
		for i := range n {
			side := unit << i
			g, err := nn.Build(m.host.device, part.build(side))
			if err != nil {
				return Cost{}, err
			}
			n[i], y[i] = float64(side*side), float64(g.Plan.FLOPs())/flops
		}
		*part.into = through(n, y)
	}
	return c, nil
}

// through is the polynomial with the values y at n.
func through(n, y [3]float64) Polynomial {
	first := (y[1] - y[0]) / (n[1] - n[0])
	second := ((y[2]-y[1])/(n[2]-n[1]) - first) / (n[2] - n[0])
	return Polynomial{y[0] - n[0]*first + n[0]*n[1]*second, first - (n[0]+n[1])*second, second}
}
