package scheduler

import "math"

// leastVariance is what DDPM clamps its variance to, so that a logarithm of it exists.
const leastVariance = 1e-20

// setTimestepsDDPM is set_timesteps of DDPMScheduler.
func setTimestepsDDPM(p *plan) error {
	if len(p.o.Timesteps) == 0 {
		return setTimestepsDDIM(p)
	}
	var err error
	p.timesteps, err = p.customTimesteps(true)
	return err
}

// solveDDPM is ancestral sampling of the diffusion's posterior (arXiv 2006.11239). It draws noise in every step whose
// timestep is above 0.
func solveDDPM(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, _, _ := p.vpStep(i)
		p.threshold(&step)
		bar, next := p.train.alpha(int(p.timesteps[i])), 1.0
		if i+1 < len(p.timesteps) && p.timesteps[i+1] >= 0 {
			next = p.train.alpha(int(p.timesteps[i+1]))
		}
		alpha := bar / next
		beta := 1 - alpha
		terms := []term{
			{math.Sqrt(next) * beta / (1 - bar), b.x0},
			{math.Sqrt(alpha) * (1 - next) / (1 - bar), b.x},
		}
		if p.timesteps[i] > 0 {
			step.Noise = true
			deviation, learned := p.c.ddpmVariance((1-next)/(1-bar)*beta, beta)
			step.Variance = learned
			terms = append(terms, term{deviation, b.noise})
		}
		step.Matrix = matrix(combine(terms...))
		steps = append(steps, step)
	}
	return steps
}

// ddpmVariance is the standard deviation of a step's noise by variance_type, given the smaller variance, of the
// posterior, and the larger one, beta.
func (c *Config) ddpmVariance(small, beta float64) (deviation float64, learned *LearnedVariance) {
	small = max(small, leastVariance)
	switch c.varianceType() {
	case "fixed_large":
		return math.Sqrt(beta), nil
	case "fixed_large_log": // diffusers takes the root of the logarithm of a number below 1
		return math.NaN(), nil
	case "learned":
		return 1, &LearnedVariance{}
	case "learned_range":
		return 1, &LearnedVariance{Range: true, Min: math.Log(small), Max: math.Log(beta)}
	}
	return math.Sqrt(small), nil
}

func (c *Config) varianceType() string {
	if c.VarianceType == nil {
		return ""
	}
	return *c.VarianceType
}

// learnedVariance says whether the model's output has a second half of channels. The DPM-Solvers and SA-Solver cut it
// off, where the model predicts epsilon.
func (c *Config) learnedVariance() bool {
	learned := c.varianceType() == "learned" || c.varianceType() == "learned_range"
	return learned && (c.Class == DDPM || c.PredictionType == "epsilon")
}
