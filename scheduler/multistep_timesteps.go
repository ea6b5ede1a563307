package scheduler

import (
	"fmt"
	"math"
)

// setTimestepsMultistep is set_timesteps of the DPM-Solvers, DEIS, UniPC and SA-Solver: whole timesteps, and
// conversions over the training range.
func setTimestepsMultistep(p *plan) error {
	c := p.c
	if done, err := p.scheduled(true); done || err != nil {
		return err
	}
	var err error
	if len(p.o.Timesteps) > 0 {
		if c.UseLuLambdas {
			return fmt.Errorf("scheduler: %s: custom timesteps do not go with use_lu_lambdas", c.Class)
		}
		p.timesteps, err = p.customTimesteps(true)
	} else {
		p.timesteps, err = c.multistepTimesteps(p.steps, c.NumTrainTimesteps-p.clippedTimesteps())
	}
	if err != nil {
		return err
	}
	converted := p.convertMultistep()
	if !converted {
		p.sigmas = p.train.sigmasAt(p.timesteps)
	}
	last, lowest := p.sigmas[len(p.sigmas)-1], float64(p.train.sigmas[0])
	switch {
	case c.Class == DEIS || c.Class == SASolver:
		// They have no final_sigmas_type: with converted sigmas the last step stays where it is.
		if converted {
			lowest = last
		}
		p.sigmas = append(p.sigmas, lowest)
	case c.Class == UniPC && c.FinalSigmasType == "sigma_min" && converted:
		p.sigmas = append(p.sigmas, last)
	default:
		p.sigmas = append(p.sigmas, p.finalSigma())
	}
	toFloat32(p.sigmas)
	return nil
}

// convertMultistep replaces sigmas and timesteps where an option says so.
func (p *plan) convertMultistep() bool {
	c, train := p.c, p.train.sigmas
	lowest, highest := float64(train[0]), float64(train[len(train)-1])
	lu := c.UseLuLambdas && !c.UseKarrasSigmas
	switch {
	case lu:
		logs := p.train.logSigmas
		p.sigmas = linspace(float64(logs[len(logs)-1]), float64(logs[0]), p.steps)
		for i, l := range p.sigmas {
			p.sigmas[i] = math.Exp(l)
		}
	case c.UseKarrasSigmas || c.UseExponentialSigmas || c.UseBetaSigmas:
		p.sigmas = c.convertSigmas(lowest, highest, p.steps)
	case c.UseFlowSigmas:
		p.flowSigmas()
		return true
	default:
		return false
	}
	if c.Class == UniPC && c.UseFlowSigmas && c.UseKarrasSigmas {
		for i, s := range p.sigmas {
			p.sigmas[i] = s / (s + 1)
		}
		p.flowTimesteps()
		return true
	}
	p.timesteps = p.timestepsOf(p.sigmas)
	// Karras and Lu timesteps are rounded (DPM-Solver: but for the cosine schedule), the others cut off.
	if (c.UseKarrasSigmas || lu) && !(c.Class == DPMSolver && c.BetaSchedule == "squaredcos_cap_v2") {
		roundEven(p.timesteps)
	}
	truncate(p.timesteps)
	return true
}

// flowSigmas are the noise levels of flow matching, shifted.
func (p *plan) flowSigmas() {
	c, n := p.c, p.steps
	lowest := 1 / float64(c.NumTrainTimesteps)
	grid := linspace(1, lowest, n+1)
	if c.Class == UniPC {
		p.sigmas = shiftSigmas(grid[:n], c.FlowShift)
		if c.ShiftTerminal != nil && *c.ShiftTerminal != 0 {
			stretchToTerminal(p.sigmas, *c.ShiftTerminal)
		}
		if math.Abs(p.sigmas[0]-1) < 1e-6 {
			p.sigmas[0] -= 1e-6 // so that log(1 - sigma) is finite
		}
	} else {
		for i, alpha := range grid {
			grid[i] = 1 - alpha
		}
		reverse(grid)
		p.sigmas = shiftSigmas(grid[:n], c.FlowShift)
	}
	p.flowTimesteps()
}

// flowTimesteps are the sigmas by num_train_timesteps, cut off.
func (p *plan) flowTimesteps() {
	p.timesteps = make([]float64, len(p.sigmas))
	for i, s := range p.sigmas {
		p.timesteps[i] = math.Trunc(s * float64(p.c.NumTrainTimesteps))
	}
}

// shiftSigmas moves flow-matching noise levels in [0, 1] towards 1 (shift above 1), as for higher resolutions.
func shiftSigmas(sigmas []float64, shift float64) []float64 {
	for i, s := range sigmas {
		sigmas[i] = shift * s / (1 + (shift-1)*s)
	}
	return sigmas
}

// stretchToTerminal stretches noise levels so that the last one is terminal.
func stretchToTerminal(sigmas []float64, terminal float64) {
	factor := (1 - sigmas[len(sigmas)-1]) / (1 - terminal)
	for i, s := range sigmas {
		sigmas[i] = 1 - (1-s)/factor
	}
}

// clippedTimesteps counts the noisiest timesteps that lambda_min_clipped leaves out: those whose lambda, in float32 as
// torch has it, lies below.
func (p *plan) clippedTimesteps() int {
	if p.c.LambdaMinClipped == nil {
		return 0
	}
	n := 0
	for _, a := range p.train.alphasCumprod {
		alpha, sigma := float32(math.Sqrt(float64(a))), float32(math.Sqrt(float64(1-a)))
		lambda := float32(math.Log(float64(alpha))) - float32(math.Log(float64(sigma)))
		if float64(lambda) < *p.c.LambdaMinClipped {
			n++
		}
	}
	return n
}
