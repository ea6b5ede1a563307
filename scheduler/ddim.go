package scheduler

import "math"

// vpStep is what the steps of DDIM, LCM and TCD, which work with VP latents, have in common: factors by timestep.
func (p *plan) vpStep(i int) (step Step, alpha, sigma float64) {
	return p.vpStepAt(int(p.timesteps[i]))
}

// vpStepAt is an evaluation at a whole timestep.
func (p *plan) vpStepAt(timestep int) (step Step, alpha, sigma float64) {
	bar := p.train.alpha(timestep)
	alpha, sigma = math.Sqrt(bar), math.Sqrt(1-bar)
	a, b := vpX0(p.c.PredictionType, alpha, sigma)
	return Step{Timestep: float64(timestep), InputScale: 1, A: a, B: b, Alpha: alpha, Sigma: sigma}, alpha, sigma
}

// solveDDIM takes the next noise level num_train_timesteps/steps below the current one, whatever the spacing.
func solveDDIM(p *plan) []Step {
	b := newBasis(0)
	final := 1.0
	if !p.c.SetAlphaToOne {
		final = p.train.alpha(0)
	}
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, alpha, sigma := p.vpStep(i)
		p.threshold(&step)
		bar, next := alpha*alpha, final
		if t := int(p.timesteps[i]) - p.c.NumTrainTimesteps/p.steps; t >= 0 {
			next = p.train.alpha(t)
		}
		terms := []term{{math.Sqrt(next), b.x0}}
		var deviation float64
		if p.o.Eta > 0 {
			deviation = p.o.Eta * math.Sqrt((1-next)/(1-bar)*(1-bar/next))
			step.Noise = true
			terms = append(terms, term{deviation, b.noise})
		}
		// With eta 1 nothing is left of the direction at a zero signal-to-noise ratio; rounding must not put it below
		// zero.
		direction := math.Sqrt(max(1-next-deviation*deviation, 0))
		terms = append(terms, term{direction, b.vpEpsilon(p.c.PredictionType, alpha, sigma)})
		step.Matrix = matrix(combine(terms...))
		steps = append(steps, step)
	}
	return steps
}
