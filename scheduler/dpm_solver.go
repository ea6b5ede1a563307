package scheduler

import (
	"fmt"
	"math"
)

// vpSigmaStep is what the steps of the multistep and single-step solvers have in common: factors by sigma.
func (p *plan) vpSigmaStep(i int) Step {
	sigma := p.sigmas[i]
	if p.c.Class == EDMDPMSolver {
		return p.edmStep(i)
	}
	alpha, noise, _ := p.level(sigma)
	a, b := vpX0(p.c.PredictionType, alpha, noise)
	if p.c.PredictionType == "flow_prediction" {
		a, b = 1, -sigma
	}
	step := Step{Timestep: p.timesteps[i], InputScale: 1, A: a, B: b, Alpha: alpha, Sigma: noise}
	p.threshold(&step)
	return step
}

// predictedNoise is epsilon for the solvers that work with it, at index i. It is recomputed from an x0 that is clipped
// or thresholded.
func (p *plan) predictedNoise(b basis, i int) row {
	alpha, noise, _ := p.level(p.sigmas[i])
	if p.c.PredictionType == "flow_prediction" {
		noise = p.sigmas[i] // also where the sigmas are not flow matching's
	}
	if p.c.Thresholding || p.c.PredictionType == "flow_prediction" {
		return combine(term{1 / noise, b.x}, term{-alpha / noise, b.x0})
	}
	return b.vpEpsilon(p.c.PredictionType, alpha, noise)
}

// solveDPM is DPM-Solver (arXiv 2206.00927) or DPM-Solver++ (arXiv 2211.01095) in its multistep form of order 1 to 3,
// also with noise. The history holds the predictions of the steps before, newest first: x0, or without ++ epsilon.
func solveDPM(p *plan) []Step {
	b := newBasis(p.c.SolverOrder - 1)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step := p.vpSigmaStep(i)
		step.Noise = p.c.stochastic()
		prediction := b.x0
		if p.c.predictsNoise() {
			prediction = p.predictedNoise(b, i)
		}
		predictions := append([]row{prediction}, b.h...)
		rows := []row{p.dpmUpdate(b, i, p.dpmDifferences(predictions, i, p.dpmOrder(i)))}
		step.Matrix = matrix(append(rows, predictions[:p.c.SolverOrder-1]...)...)
		steps = append(steps, step)
	}
	return steps
}

// stochastic says whether a DPM-Solver adds noise, in every step.
func (c *Config) stochastic() bool {
	return c.AlgorithmType == "sde-dpmsolver++" || c.AlgorithmType == "sde-dpmsolver"
}

// predictsNoise says whether a DPM-Solver works with the predicted noise, not with x0.
func (c *Config) predictsNoise() bool {
	return c.AlgorithmType == "dpmsolver" || c.AlgorithmType == "sde-dpmsolver"
}

// dpmOrder is the highest order that the history and the end of the schedule allow. Short schedules end in lower
// orders.
func (p *plan) dpmOrder(i int) int {
	c, total := p.c, len(p.timesteps)
	short := c.LowerOrderFinal && total < 15
	lastFirst := i == total-1 && (short || c.Class != DEIS && (c.EulerAtFinal || c.FinalSigmasType == "zero"))
	behind := i - p.first
	switch {
	case c.SolverOrder == 1 || behind < 1 || lastFirst:
		return 1
	case c.SolverOrder == 2 || behind < 2 || i == total-2 && short:
		return 2
	}
	return 3
}

// dpmDifferences returns the newest prediction and its divided differences of the orders below the step's.
func (p *plan) dpmDifferences(predictions []row, i, order int) []row {
	d := []row{predictions[0]}
	if order == 1 {
		return d
	}
	_, _, next := p.level(p.sigmas[i+1])
	_, _, now := p.level(p.sigmas[i])
	_, _, before := p.level(p.sigmas[i-1])
	h := next - now
	r0 := (now - before) / h
	newest := combine(term{1 / r0, predictions[0]}, term{-1 / r0, predictions[1]})
	if order == 2 {
		return append(d, newest)
	}
	_, _, earlier := p.level(p.sigmas[i-2])
	r1 := (before - earlier) / h
	older := combine(term{1 / r1, predictions[1]}, term{-1 / r1, predictions[2]})
	change := combine(term{1, newest}, term{-1, older})
	return append(d, combine(term{1, newest}, term{r0 / (r0 + r1), change}), combine(term{1 / (r0 + r1), change}))
}

// dpmUpdate integrates the polynomial with the differences d over the step from index i to the next. With a final sigma
// of zero h is infinite, and dpmOrder gives the first order, whose formulas stay finite.
func (p *plan) dpmUpdate(b basis, i int, d []row) row {
	f := p.dpmFactors(i, i+1)
	terms := []term{{f.x, b.x}, {f.first, d[0]}}
	if f.noise != 0 {
		terms = append(terms, term{f.noise, b.noise})
	}
	if len(d) > 2 || len(d) > 1 && p.c.SolverType == "heun" { // the third order has one form
		terms = append(terms, term{f.heun(), d[1]})
	} else if len(d) > 1 {
		terms = append(terms, term{f.midpoint, d[1]})
	}
	if len(d) > 2 {
		if p.c.AlgorithmType == "sde-dpmsolver" || p.c.Class == EDMDPMSolver && p.c.stochastic() {
			p.failed = fmt.Errorf("solver_order = 3 with algorithm_type %s and %d steps; allowed: 1, 2", p.c.AlgorithmType, len(p.timesteps))
		}
		terms = append(terms, term{f.third(), d[2]})
	}
	return combine(terms...)
}

// dpmFactors are what the step from one noise level to another multiplies latents, prediction, its differences and
// noise by. heun and third are functions because they are not finite where h is not.
type dpmFactors struct {
	x, first, midpoint, noise float64
	heun, third               func() float64
}

func (p *plan) dpmFactors(from, to int) dpmFactors {
	alphaNow, sigmaNow, now := p.level(p.sigmas[from])
	alpha, sigma, next := p.level(p.sigmas[to])
	h := next - now
	switch p.c.AlgorithmType {
	case "dpmsolver":
		phi := math.Expm1(h)
		return dpmFactors{
			x: alpha / alphaNow, first: -sigma * phi, midpoint: -0.5 * sigma * phi,
			heun:  func() float64 { return -sigma * (phi/h - 1) },
			third: func() float64 { return -sigma * ((phi-h)/(h*h) - 0.5) },
		}
	case "sde-dpmsolver":
		phi := math.Expm1(h)
		return dpmFactors{
			x: alpha / alphaNow, first: -2 * sigma * phi, midpoint: -sigma * phi, noise: sigma * math.Sqrt(math.Expm1(2*h)),
			heun:  func() float64 { return -2 * sigma * (phi/h - 1) },
			third: math.NaN, // it has no third order
		}
	case "sde-dpmsolver++":
		decay := -math.Expm1(-2 * h)
		return dpmFactors{
			x: sigma / sigmaNow * math.Exp(-h), first: alpha * decay, midpoint: 0.5 * alpha * decay, noise: sigma * math.Sqrt(decay),
			heun:  func() float64 { return alpha * (decay/(-2*h) + 1) },
			third: func() float64 { return alpha * ((decay-2*h)/(4*h*h) - 0.5) },
		}
	}
	phi := math.Expm1(-h)
	return dpmFactors{
		x: sigma / sigmaNow, first: -alpha * phi, midpoint: -0.5 * alpha * phi,
		heun:  func() float64 { return alpha * (phi/h + 1) },
		third: func() float64 { return -alpha * ((phi+h)/(h*h) - 0.5) },
	}
}
