package scheduler

import "math"

// veStep is what the steps of Euler, Euler ancestral, Heun and LMS, which work with VE latents, have in common.
func (p *plan) veStep(i int) Step {
	sigma := p.sigmas[i]
	a, b := veX0(p.c.PredictionType, sigma)
	return Step{
		Timestep: p.timesteps[i], InputScale: 1 / math.Sqrt(sigma*sigma+1),
		A: a, B: b, Alpha: 1, Sigma: sigma,
	}
}

// solveEuler is EulerDiscreteScheduler.step without churn (s_churn), which no pipeline sets.
func solveEuler(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		sigma := p.sigmas[i]
		step := p.veStep(i)
		d := b.veDerivative(p.c.PredictionType, sigma, 0)
		step.Matrix = matrix(combine(term{1, b.x}, term{p.sigmas[i+1] - sigma, d}))
		steps = append(steps, step)
	}
	return steps
}

// solveEulerAncestral steps down further than Euler and adds noise; it draws noise on every step, the last included.
func solveEulerAncestral(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		from, to := p.sigmas[i], p.sigmas[i+1]
		up := math.Sqrt(to * to * (from*from - to*to) / (from * from))
		down := math.Sqrt(to*to - up*up)
		step := p.veStep(i)
		d := b.veDerivative(p.c.PredictionType, from, 0)
		step.Matrix = matrix(combine(term{1, b.x}, term{down - from, d}, term{up, b.noise}))
		step.Noise = true
		steps = append(steps, step)
	}
	return steps
}
