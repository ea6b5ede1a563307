package sdxl

import (
	"context"

	"github.com/goxl/goxl/models/vae"
	"github.com/goxl/goxl/nn"
	"github.com/goxl/goxl/scheduler"
)

// noise draws a run's random numbers: from one generator for the batch, or from one for each image. Schedules of
// DPM-Solver SDE take their steps' noise from Brownian paths in the same way.
type noise struct {
	generators []*scheduler.Generator
	paths      []*scheduler.Brownian
}

// newNoise is for latents of so many elements.
func newNoise(q *resolved, elements int) *noise {
	seeds := q.Seeds
	if len(seeds) == 0 {
		seeds = []uint64{q.Seed}
	}
	n := &noise{}
	for _, seed := range seeds {
		n.generators = append(n.generators, scheduler.NewGenerator(seed))
	}
	if levels := q.schedule.PathRange; levels[0] != levels[1] {
		if seed := q.schedule.PathSeed; seed != nil { // the config's own, for the whole batch
			seeds = []uint64{uint64(*seed)}
		}
		for _, seed := range seeds {
			n.paths = append(n.paths, scheduler.NewBrownian(elements/len(seeds), levels[0], levels[1], seed))
		}
	}
	return n
}

// clone is a copy that draws the same numbers.
func (n *noise) clone() *noise {
	c := &noise{paths: n.paths}
	for _, g := range n.generators {
		state := *g
		c.generators = append(c.generators, &state)
	}
	return c
}

// draw returns unit normal noise of shape [N, C, H, W] in the device's order; the generators fill it in the order of
// the shape.
func (n *noise) draw(shape []int) []float32 { return channelsLast(n.drawTensor(shape)) }

func (n *noise) drawTensor(shape []int) *Tensor {
	x := nn.NewTensor(shape...)
	part := len(x.Data) / len(n.generators)
	for i, g := range n.generators {
		g.Randn(x.Data[i*part : (i+1)*part])
	}
	return x
}

// step is the noise of a step, of shape [N, C, H, W] in the device's order.
func (n *noise) step(s *scheduler.Step, shape []int) []float32 {
	if !s.HasPath() {
		return n.draw(shape)
	}
	x := nn.NewTensor(shape...)
	part := len(x.Data) / len(n.paths)
	for i, path := range n.paths {
		path.Noise(x.Data[i*part:(i+1)*part], s.Path[0], s.Path[1])
	}
	return channelsLast(x)
}

// firstLatents are noise of the schedule's first level.
func (r *Run) firstLatents() []float32 {
	var x []float32
	if given := r.q.request.Latents; given != nil {
		x = channelsLast(given)
	} else {
		x = r.firstNoise()
	}
	sigma := float32(r.q.schedule.InitNoiseSigma)
	for i := range x {
		x[i] *= sigma
	}
	return x
}

// draws draws latents from a posterior, once for each generator.
func (r *Run) draws(moments vae.Image) (x []float32) {
	for _, g := range r.noise.generators {
		x = append(x, channelsLast(r.m.sample(moments, g))...)
	}
	return x
}

// forAll repeats latents of some images for the whole batch.
func (r *Run) forAll(start []float32) []float32 {
	x := make([]float32, 0, r.elements())
	for len(x) < r.elements() {
		x = append(x, start...)
	}
	return x
}

// imageLatents returns what image-to-image starts from. Draws come in diffusers' order: the posterior's, once for each
// generator, then the noise.
func (r *Run) imageLatents(ctx context.Context) ([]float32, error) {
	var start []float32
	if given := r.q.request.ImageLatents; given != nil {
		start = channelsLast(given)
	} else {
		moments, err := r.m.encodeImage(ctx, r.q.startImage(), r.q.request.Taps.VAE...)
		if err != nil {
			return nil, err
		}
		start = r.draws(moments)
	}
	x := r.forAll(start)
	if r.q.DenoisingStart == 0 {
		noise := r.firstNoise()
		scale, sigma := r.q.schedule.AddNoise(0)
		a, b := float32(scale), float32(sigma)
		for i := range x {
			x[i] = float32(a*x[i]) + float32(b*noise[i])
		}
	}
	return x, nil
}
