package sdxl

import (
	"math"

	"github.com/goxl/goxl/scheduler"
)

// checkSubseed refuses variations where there is no noise of a seed that could be varied.
func checkSubseed(q *resolved) error {
	strength := q.SubseedStrength
	switch {
	case !(strength >= 0 && strength <= 1):
		return bad("subseed_strength", strength, "0 to 1")
	case strength > 0 && q.NoiseGiven:
		return bad("subseed_strength", strength, "0 where the noise is given as latents")
	case strength > 0 && q.DenoisingStart > 0:
		return bad("subseed_strength", strength, "0 with denoising_start, which adds no noise")
	}
	return nil
}

// seeded is a request whose seeds that it leaves to chance are drawn.
func seeded(r Request) Request {
	if r.Seed == nil && len(r.Seeds) == 0 {
		r.Seed = new(RandomSeed())
	}
	if r.Subseed == nil && r.SubseedStrength != 0 {
		r.Subseed = new(RandomSeed())
	}
	return r
}

// firstNoise draws the noise that a run begins with, of unit variance, in the device's order.
func (r *Run) firstNoise() []float32 {
	shape := r.latentShape()
	x := r.noise.drawTensor(shape)
	if strength := r.q.SubseedStrength; strength > 0 {
		image := len(x.Data) / shape[0]
		for i := range shape[0] {
			sub := make([]float32, image)
			scheduler.NewGenerator(r.q.Subseed + uint64(i)).Randn(sub)
			slerp(strength, x.Data[i*image:(i+1)*image], sub, shape[1], shape[2], shape[3])
		}
	}
	return channelsLast(x)
}

// slerp turns low, [C, H, W], towards high by a fraction t of the angle between them, as A1111 does (modules/rng.py):
// the vectors are the columns of each channel, of H values.
func slerp(t float64, low, high []float32, c, h, w int) {
	angles := make([]float64, c*w)
	mean := 0.0
	for i := range angles {
		var dot, ll, hh float64
		for k := range h {
			a, b := float64(low[(i/w*h+k)*w+i%w]), float64(high[(i/w*h+k)*w+i%w])
			dot, ll, hh = dot+a*b, ll+a*a, hh+b*b
		}
		cosine := dot / math.Sqrt(ll*hh)
		mean += cosine / float64(len(angles))
		angles[i] = math.Acos(cosine)
	}
	for i, angle := range angles {
		a, b := math.Sin((1-t)*angle)/math.Sin(angle), math.Sin(t*angle)/math.Sin(angle)
		if mean > 0.9995 { // nearly the same noise; A1111 has the two the other way round here
			a, b = t, 1-t
		}
		for k := range h {
			at := (i/w*h+k)*w + i%w
			low[at] = float32(a*float64(low[at]) + b*float64(high[at]))
		}
	}
}
