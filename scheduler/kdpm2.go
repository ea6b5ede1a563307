package scheduler

import "math"

// dpm2Sigmas are the noise levels between those of the steps, by step: sigmas_interpol, and in the ancestral variant
// how far a step goes down and how much noise brings it up again.
type dpm2Sigmas struct{ middle, down, up []float64 }

// setTimestepsDPM2 is set_timesteps of KDPM2DiscreteScheduler and its ancestral variant: every step but the last has a
// second evaluation at a noise level in its middle.
func setTimestepsDPM2(p *plan) error {
	if err := setTimestepsEuler(p); err != nil {
		return err
	}
	if p.c.UseKarrasSigmas {
		roundEven(p.timesteps)
	}
	n, sigmas := len(p.timesteps), p.sigmas
	k := &p.dpm2
	timesteps, doubled := p.timesteps[:1:1], sigmas[:1:1]
	for i := range n {
		from, to := sigmas[i], sigmas[i+1]
		down, up := to, 0.0
		if p.c.Class == DPM2Ancestral {
			up = math.Sqrt(to * to * (from*from - to*to) / (from * from))
			down = math.Sqrt(to*to - up*up)
		}
		k.down, k.up = append(k.down, down), append(k.up, up)
		k.middle = append(k.middle, float64(float32(math.Sqrt(from*down))))
		doubled = append(doubled, to, to)
		if i+1 < n {
			timesteps = append(timesteps, p.train.timestepAt32(float32(k.middle[i])), p.timesteps[i+1])
		}
	}
	p.timesteps, p.sigmas = timesteps, doubled
	toFloat32(p.timesteps)
	return nil
}

// solveDPM2 is the midpoint method, DPM-Solver-2 of algorithm 2 in arXiv 2206.00364, also ancestral. The first
// evaluation of a step goes to its middle; the second, with the derivative there, from the step's start, which the
// history holds, to its end.
func solveDPM2(p *plan) []Step {
	b := newBasis(1)
	start := b.h[0]
	prediction := p.c.PredictionType
	var steps []Step
	for i := p.first; i < p.end; i++ {
		second := (i-p.first)%2 == 1
		k := i / 2
		step := p.veStep(i)
		if !second {
			sigma := p.sigmas[i]
			d := b.veDerivative(prediction, sigma, 0)
			step.Matrix = matrix(combine(term{1, b.x}, term{p.dpm2.middle[k] - sigma, d}), b.x)
			steps = append(steps, step)
			continue
		}
		middle := p.dpm2.middle[k]
		from := p.sigmas[i-1]
		step.InputScale = 1 / math.Sqrt(middle*middle+1)
		step.A, step.B = veX0(prediction, middle)
		terms := []term{{1, start}, {p.dpm2.down[k] - from, b.veDerivative(prediction, middle, 0)}}
		if p.c.Class == DPM2Ancestral {
			step.Noise = true
			terms = append(terms, term{p.dpm2.up[k], b.noise})
		}
		step.Matrix = matrix(combine(terms...), make(row, len(b.x)))
		steps = append(steps, step)
	}
	return steps
}
