package scheduler

import (
	"fmt"
	"math"
	"slices"
)

// pndmHistory is the number of tensors that PNDM keeps: the weighted sum of a Runge-Kutta step, the latents at its
// start, and three predictions, newest first.
const pndmHistory = 5

// rungeKuttaCalls are the evaluations of PNDM's warm-up, three Runge-Kutta steps of four each.
const rungeKuttaCalls = 12

// setTimestepsPNDM is set_timesteps of PNDMScheduler: the second timestep is evaluated twice, or the first three steps
// have four evaluations each, at their start, middle and end.
func setTimestepsPNDM(p *plan) error {
	list, err := p.c.spacedTimesteps(p.steps)
	if err != nil {
		return err
	}
	roundEven(list)
	if p.c.SkipPRKSteps {
		if n := len(list); n > 1 {
			list = slices.Insert(list, 1, list[1])
		}
		p.timesteps = list
		return nil
	}
	if len(list) < 4 {
		return fmt.Errorf("scheduler: %s: %d steps; allowed: at least 4 without skip_prk_steps", p.c.Class, len(list))
	}
	half := float64(p.c.NumTrainTimesteps / p.steps / 2)
	for k := range 3 {
		now, next := list[k], list[k+1]
		p.timesteps = append(p.timesteps, now, next+half, next+half, next)
	}
	p.timesteps = append(p.timesteps, list[3:]...)
	return nil
}

// solvePNDM is the pseudo numerical method (arXiv 2202.09778): linear multistep of order 4 on the predicted noise, after
// a warm-up. As in the reference the warm-up is counted from the first step that is run, also in image-to-image.
func solvePNDM(p *plan) []Step {
	b := newBasis(pndmHistory)
	zero := make(row, len(b.x))
	sum, start, old := b.h[0], b.h[1], b.h[2:]
	known := 0 // predictions in old
	distance := float64(p.c.NumTrainTimesteps / p.steps)
	half := float64(p.c.NumTrainTimesteps / p.steps / 2)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		counter := i - p.first
		step, _, _ := p.vpStep(i)
		from, to := p.timesteps[i], p.timesteps[i]-distance
		nextSum, nextStart := zero, start
		push := true // the prediction onto the old ones
		x, model := b.x, b.m
		switch {
		case !p.c.SkipPRKSteps && counter < rungeKuttaCalls:
			phase := counter % 4
			if from, to = p.timesteps[counter-phase], p.timesteps[i]; phase%2 == 0 {
				to -= half
			}
			push = phase == 0
			x = start
			switch phase {
			case 0:
				nextSum, nextStart, x = combine(term{1, sum}, term{1.0 / 6, b.m}), b.x, b.x
			case 1, 2:
				nextSum = combine(term{1, sum}, term{1.0 / 3, b.m})
			case 3:
				model = combine(term{1, sum}, term{1.0 / 6, b.m})
			}
		case counter == 0:
			nextStart = b.x
		case counter == 1:
			push = false
			from, to = from+distance, from
			x, model = start, combine(term{0.5, b.m}, term{0.5, old[0]})
		default:
			model = pndmMultistep(append([]row{b.m}, old[:known]...))
		}
		step.Matrix = matrix(p.pndmTransfer(x, model, int(from), int(to)), nextSum, nextStart, old[0], old[1], old[2])
		if push {
			copy(step.Matrix[3:], matrix(b.m, old[0], old[1]))
			known = min(known+1, 3)
		}
		steps = append(steps, step)
	}
	return steps
}

// pndmMultistep is the Adams-Bashforth combination of up to four predictions, newest first.
func pndmMultistep(e []row) row {
	var weights []float64
	switch len(e) {
	case 1:
		weights = []float64{1}
	case 2:
		weights = []float64{3.0 / 2, -1.0 / 2}
	case 3:
		weights = []float64{23.0 / 12, -16.0 / 12, 5.0 / 12}
	default:
		weights = []float64{55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24}
	}
	var terms []term
	for k, w := range weights {
		terms = append(terms, term{w, e[k]})
	}
	return combine(terms...)
}

// pndmTransfer takes latents from one timestep to another along a prediction: equation 9 of the paper.
func (p *plan) pndmTransfer(x, model row, from, to int) row {
	bar, next := p.train.alpha(from), p.finalAlpha()
	if to >= 0 {
		next = p.train.alpha(to)
	}
	if p.c.PredictionType == "v_prediction" {
		model = combine(term{math.Sqrt(bar), model}, term{math.Sqrt(1 - bar), x})
	}
	divisor := bar*math.Sqrt(1-next) + math.Sqrt(bar*(1-bar)*next)
	return combine(term{math.Sqrt(next / bar), x}, term{-(next - bar) / divisor, model})
}

// finalAlpha is the cumulative alpha after the last step.
func (p *plan) finalAlpha() float64 {
	if p.c.SetAlphaToOne {
		return 1
	}
	return p.train.alpha(0)
}
