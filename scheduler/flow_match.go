package scheduler

import "fmt"

// setTimestepsFlow is set_timesteps of FlowMatchEulerDiscreteScheduler. Its own custom sigmas lack the final one; here,
// as for every class, the list ends with it, and it is zero. The shift acts on custom timesteps' and custom sigmas'
// noise levels too.
func setTimestepsFlow(p *plan) error {
	c, train := p.c, float64(p.c.NumTrainTimesteps)
	given := false
	switch {
	case len(p.o.Sigmas) > 0:
		list, err := p.customSigmas()
		if err != nil {
			return err
		}
		last := len(list) - 1
		if list[last] != 0 || list[0] > 1 || last > 0 && list[last-1] == 0 {
			return fmt.Errorf("scheduler: %s: sigmas from %v to %v; allowed: from at most 1 to a final 0", c.Class, list[0], list[last])
		}
		p.sigmas = list[:last]
		toFloat32(p.sigmas)
	case len(p.o.Timesteps) > 0:
		given = true
		list, err := p.customTimesteps(false)
		if err != nil {
			return err
		}
		toFloat32(list)
		p.timesteps = list
		for _, t := range list {
			p.sigmas = append(p.sigmas, t/train)
		}
	default:
		// The ends were shifted once already, when the class was made, and are float32.
		ends := shiftSigmas([]float64{1, float64(float32(1 / train))}, c.Shift)
		toFloat32(ends)
		p.sigmas = linspace(ends[0]*train, ends[1]*train, p.steps)
		for i := range p.sigmas {
			p.sigmas[i] /= train
		}
	}
	p.sigmas = shiftSigmas(p.sigmas, c.Shift)
	if c.ShiftTerminal != nil && *c.ShiftTerminal != 0 {
		stretchToTerminal(p.sigmas, *c.ShiftTerminal)
	}
	if list := c.convertSigmas(p.sigmas[len(p.sigmas)-1], p.sigmas[0], len(p.sigmas)); list != nil {
		p.sigmas = list
	}
	toFloat32(p.sigmas)
	final := 0.0
	if c.InvertSigmas {
		final = 1
		for i, s := range p.sigmas {
			p.sigmas[i] = float64(1 - float32(s))
		}
	}
	if !given || c.InvertSigmas {
		p.timesteps = make([]float64, len(p.sigmas))
		for i, s := range p.sigmas {
			p.timesteps[i] = float64(float32(s) * float32(train))
		}
	}
	p.sigmas = append(p.sigmas, final)
	return nil
}

// solveFlow is Euler's method along the velocity that a flow-matching model predicts, noise minus data; the latents are
// (1-sigma)*data + sigma*noise. With stochastic_sampling every step goes to clean latents and adds new noise.
func solveFlow(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		sigma, next := p.sigmas[i], p.sigmas[i+1]
		step := Step{Timestep: p.timesteps[i], InputScale: 1, A: 1, B: -sigma, Alpha: 1 - sigma, Sigma: sigma}
		if p.c.StochasticSampling {
			step.Noise = true
			step.Matrix = matrix(combine(term{1 - next, b.x0}, term{next, b.noise}))
		} else {
			step.Matrix = matrix(combine(term{1, b.x}, term{next - sigma, b.m}))
		}
		steps = append(steps, step)
	}
	return steps
}
