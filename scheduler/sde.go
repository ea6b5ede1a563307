package scheduler

import (
	"fmt"
	"math"
)

// setTimestepsSDE is set_timesteps of DPMSolverSDEScheduler: every step but the last has a second evaluation at the
// noise level that is its middle in log sigma. Timesteps are float64 there, not float32.
func setTimestepsSDE(p *plan) error {
	done, err := p.scheduled(false)
	if err != nil {
		return err
	}
	list, sigmas := p.timesteps, p.sigmas
	if done {
		sigmas = sigmas[:len(list)]
	} else {
		if list, err = p.c.spacedTimesteps(p.steps); err != nil {
			return err
		}
		sigmas = p.train.sigmasAt(list)
		if converted := p.c.convertSigmas(sigmas[len(sigmas)-1], sigmas[0], p.steps); converted != nil {
			sigmas = converted
			list = p.timestepsOf(sigmas)
		}
	}
	p.timesteps, p.sigmas = list[:1:1], sigmas[:1:1]
	for i := 1; i < len(list); i++ {
		middle := math.Exp((math.Log(sigmas[i-1]) + math.Log(sigmas[i])) / 2)
		p.timesteps = append(p.timesteps, p.train.timestepAt(middle), list[i])
		p.sigmas = append(p.sigmas, sigmas[i], sigmas[i])
	}
	p.sigmas = append(p.sigmas, 0)
	toFloat32(p.timesteps)
	toFloat32(p.sigmas)
	p.pathRange = [2]float64{p.sigmas[len(p.sigmas)-2], p.sigmas[0]}
	for _, s := range p.sigmas {
		if s > 0 {
			p.pathRange[0] = min(p.pathRange[0], s)
		}
		p.pathRange[1] = max(p.pathRange[1], s)
	}
	return nil
}

// solveSDE is DPM-Solver++ (SDE) of k-diffusion, of order 2: a step to its middle, then, with the prediction there, one
// from its start, which the history holds, to its end. The noise of both is that of one Brownian path. The last step is
// Euler's.
func solveSDE(p *plan) []Step {
	b := newBasis(1)
	prediction := p.c.PredictionType
	zero := make(row, len(b.x))
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step := p.veStep(i)
		second := (i-p.first)%2 == 1
		at, x, history := i, b.x, b.x
		if second {
			at, x, history = i-1, b.h[0], zero
		}
		from, to := p.sigmas[at], p.sigmas[at+1]
		if to == 0 {
			step.Matrix = matrix(combine(term{1, b.x}, term{to - from, b.veDerivative(prediction, from, 0)}), b.h[0])
			steps = append(steps, step)
			continue
		}
		// The reference takes the levels through logarithms in float32, which gives their last digits; the path is
		// asked for at these levels.
		start, end := minusLog(from), minusLog(to)
		middle := halfway(start, end)
		if second {
			level := expMinus(middle)
			step.InputScale = 1 / math.Sqrt(level*level+1)
			step.A, step.B = veX0(prediction, level)
		} else {
			end = middle
		}
		low, high := expMinus(end), expMinus(start)
		up := min(low, math.Sqrt(low*low*(high*high-low*low)/(high*high)))
		ratio := math.Sqrt(low*low-up*up) / high
		if low == high {
			p.failed = fmt.Errorf("two steps have the same sigma, %v, between which a Brownian path has no noise", high)
		}
		step.Noise, step.Path = true, [2]float64{high, low}
		step.Matrix = matrix(combine(term{ratio, x}, term{1 - ratio, b.x0}, term{up, b.noise}), history)
		steps = append(steps, step)
	}
	return steps
}

// minusLog and expMinus are -log and exp(-t) of float32 numbers, correctly rounded. torch's own may be off in the last
// bit, by host.
func minusLog(sigma float64) float32 { return -float32(math.Log(sigma)) }

func expMinus(t float32) float64 { return float64(float32(math.Exp(-float64(t)))) }

// halfway is the middle of two logarithms in float32.
func halfway(start, end float32) float32 { return start + float32(float32(end-start)*0.5) }
