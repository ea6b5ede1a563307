package scheduler

import "math"

// solveLCM is the multistep consistency sampler: a jump to clean latents, then noise for the next noise level.
func solveLCM(p *plan) []Step {
	const sigmaData = 0.5
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, _, _ := p.vpStep(i)
		p.threshold(&step)
		scaled := p.timesteps[i] * p.c.TimestepScaling
		skip := sigmaData * sigmaData / (scaled*scaled + sigmaData*sigmaData)
		out := scaled / math.Sqrt(scaled*scaled+sigmaData*sigmaData)
		denoised := combine(term{out, b.x0}, term{skip, b.x})
		if i == p.steps-1 {
			step.Matrix = matrix(denoised)
		} else {
			bar := p.train.alpha(int(p.timesteps[i+1]))
			step.Matrix = matrix(combine(term{math.Sqrt(bar), denoised}, term{math.Sqrt(1 - bar), b.noise}))
			step.Noise = true
		}
		steps = append(steps, step)
	}
	return steps
}

// solveTCD is the trajectory consistency sampler: a jump to a noise level below the next one, by eta, then noise up to
// it.
func solveTCD(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, alpha, sigma := p.vpStep(i)
		next := 0.0
		if i+1 < len(p.timesteps) {
			next = p.timesteps[i+1]
		}
		// torch multiplies the whole timestep by the factor in float32.
		lower := math.Floor(float64(float32(1-p.o.Eta) * float32(next)))
		nextBar, lowerBar := p.train.alpha(int(next)), p.train.alpha(int(lower))
		jump := combine(term{math.Sqrt(lowerBar), b.x0},
			term{math.Sqrt(1 - lowerBar), b.vpEpsilon(p.c.PredictionType, alpha, sigma)})
		if p.o.Eta > 0 && i != p.steps-1 {
			ratio := nextBar / lowerBar
			jump = combine(term{math.Sqrt(ratio), jump}, term{math.Sqrt(1 - ratio), b.noise})
			step.Noise = true
		}
		step.Matrix = matrix(jump)
		steps = append(steps, step)
	}
	return steps
}
