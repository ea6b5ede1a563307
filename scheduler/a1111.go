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

// solveA1111DDIM is DDIM between the timesteps of the list, whatever their distance: ddim and, with the unconditional
// prediction's noise, ddim_cfgpp.
func solveA1111DDIM(p *plan) []Step {
	cfgpp := p.c.Class == A1111DDIMCFGPP
	b := newBasis(0)
	if cfgpp {
		b = newBasis(1)
	}
	noise := b
	if cfgpp {
		noise.m = b.h[0]
	}
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, alpha, sigma := p.vpStep(i)
		bar, to := alpha*alpha, p.train.alpha(p.timestepAfter(i))
		deviation := p.o.Eta * math.Sqrt((1-to)/(1-bar)*(1-bar/to))
		step.Noise = p.o.Eta > 0
		step.Matrix = matrix(combine(term{math.Sqrt(to), b.x0}, term{deviation, b.noise},
			term{math.Sqrt(max(1-to-deviation*deviation, 0)), noise.vpEpsilon(p.c.PredictionType, alpha, sigma)}))
		for range b.h {
			step.Matrix = append(step.Matrix, make(row, len(b.x)))
		}
		steps = append(steps, step)
	}
	return steps
}

// plmsHistory is the number of tensors that A1111's PLMS keeps: the latents at the start of the first step, and the noise
// of three evaluations, newest first.
const plmsHistory = 4

// solveA1111PLMS is plms: linear multistep of order 4 on the predicted noise, between the timesteps of DDIM's list. The
// first step is taken twice, the second time with the mean of the noise at its start and at its end.
func solveA1111PLMS(p *plan) []Step {
	b := newBasis(plmsHistory)
	start, old := b.h[0], b.h[1:]
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step, alpha, sigma := p.vpStep(i)
		noise := b.vpEpsilon(p.c.PredictionType, alpha, sigma)
		to := p.timestepAfter(i)
		transfer := func(x, noise row) row {
			bar := p.train.alpha(to)
			scale := math.Sqrt(bar) / alpha
			return combine(term{scale, x}, term{math.Sqrt(1-bar) - scale*sigma, noise})
		}
		predicted := pndmMultistep(append([]row{noise}, old[:min(i-p.first, len(old))]...))
		step.Matrix = matrix(transfer(b.x, predicted), b.x, noise, old[0], old[1])
		steps = append(steps, step)
		if i > p.first {
			continue
		}
		again, alphaAfter, sigmaAfter := p.vpStepAt(to)
		mean := combine(term{0.5, old[0]}, term{0.5, b.vpEpsilon(p.c.PredictionType, alphaAfter, sigmaAfter)})
		again.Matrix = matrix(transfer(start, mean), start, old[0], old[1], old[2])
		steps = append(steps, again)
	}
	return steps
}

// timestepAfter is the timestep to which step i leads.
func (p *plan) timestepAfter(i int) int {
	if i+1 < len(p.timesteps) {
		return int(p.timesteps[i+1])
	}
	return p.lowest
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
