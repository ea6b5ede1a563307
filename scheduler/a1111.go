package scheduler

import (
	"fmt"
	"math"
)

// setTimestepsA1111DDIM is CompVisSampler.get_timesteps: timesteps 1000//steps apart from 1 on. Their number may be
// one more than that of the steps, and the lowest is not evaluated: the run ends at its noise level.
func setTimestepsA1111DDIM(p *plan) error {
	last := p.c.NumTrainTimesteps - 1
	for t := 0; t <= last; t += p.c.NumTrainTimesteps / p.steps {
		p.timesteps = append(p.timesteps, float64(min(t+1, last)))
	}
	reverse(p.timesteps)
	n := len(p.timesteps) - 1
	if n == 0 {
		return fmt.Errorf("scheduler: %s: %d steps; allowed: at least 2, since the lowest timestep is not evaluated", p.c.Class, p.steps)
	}
	p.lowest, p.timesteps = int(p.timesteps[n]), p.timesteps[:n]
	return nil
}

// solveA1111DDIM is DDIM between the timesteps of the list, whatever their distance.
func solveA1111DDIM(p *plan) []Step {
	b := newBasis(0)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, alpha, sigma := p.vpStep(i)
		next := p.lowest
		if i+1 < len(p.timesteps) {
			next = int(p.timesteps[i+1])
		}
		bar, to := alpha*alpha, p.train.alpha(next)
		deviation := p.o.Eta * math.Sqrt((1-to)/(1-bar)*(1-bar/to))
		step.Noise = p.o.Eta > 0
		step.Matrix = matrix(combine(term{math.Sqrt(to), b.x0}, term{deviation, b.noise},
			term{math.Sqrt(max(1-to-deviation*deviation, 0)), b.vpEpsilon(p.c.PredictionType, alpha, sigma)}))
		steps = append(steps, step)
	}
	return steps
}

// setTimestepsA1111UniPC spaces the continuous time of UniPC's NoiseScheduleVP evenly from 1 to 1/1000; the logarithm
// of alpha is interpolated between the timesteps of the training. As in A1111 there are as many steps as DDIM's list
// has timesteps.
func setTimestepsA1111UniPC(p *plan) error {
	if err := setTimestepsA1111DDIM(p); err != nil {
		return err
	}
	n := len(p.timesteps) + 1
	p.timesteps = nil
	total := float64(p.c.NumTrainTimesteps)
	for i, t := range linspace(1, 1/total, n+1) {
		timestep := t*total - 1
		p.sigmas = append(p.sigmas, p.train.sigmaAtLogAlpha(timestep))
		if i < n {
			p.timesteps = append(p.timesteps, timestep)
		}
	}
	return nil
}

// sigmaAtLogAlpha is the sigma of VE latents at a timestep between whole ones.
func (t *training) sigmaAtLogAlpha(timestep float64) float64 {
	low := int(min(max(math.Floor(timestep), 0), float64(len(t.alphasCumprod)-2)))
	a, b := math.Log(float64(t.alphasCumprod[low])), math.Log(float64(t.alphasCumprod[low+1]))
	bar := math.Exp(a + (b-a)*(timestep-float64(low)))
	return math.Sqrt((1 - bar) / bar)
}
