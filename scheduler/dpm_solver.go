package scheduler

import "math"

// vpSigmaStep is what the steps of DPM-Solver and UniPC, which work with VP latents, have in common: factors by sigma.
func (p *plan) vpSigmaStep(i int) Step {
	alpha, sigma, _ := alphaSigmaLambda(p.sigmas[i])
	a, b := vpX0(p.c.PredictionType, alpha, sigma)
	return Step{Timestep: p.timesteps[i], InputScale: 1, A: a, B: b, Alpha: alpha, Sigma: sigma}
}

// solveDPM is DPM-Solver++ (arXiv 2211.01095) in its multistep form of order 1 to 3, also with noise. The history holds
// the x0 predictions of the steps before, newest first.
func solveDPM(p *plan) []Step {
	b := newBasis(p.c.SolverOrder - 1)
	predictions := append([]row{b.x0}, b.h...)
	stochastic := p.c.AlgorithmType == "sde-dpmsolver++"
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step := p.vpSigmaStep(i)
		step.Noise = stochastic
		order := p.dpmOrder(i)
		rows := []row{p.dpmUpdate(b, i, p.dpmDifferences(b, i, order))}
		step.Matrix = matrix(append(rows, predictions[:p.c.SolverOrder-1]...)...)
		steps = append(steps, step)
	}
	return steps
}

// dpmOrder is the highest order that the history and the end of the schedule allow. Short schedules end in lower
// orders.
func (p *plan) dpmOrder(i int) int {
	c, total := p.c, len(p.timesteps)
	short := c.LowerOrderFinal && total < 15
	lastFirst := i == total-1 && (c.EulerAtFinal || short || c.FinalSigmasType == "zero")
	behind := i - p.first
	switch {
	case c.SolverOrder == 1 || behind < 1 || lastFirst:
		return 1
	case c.SolverOrder == 2 || behind < 2 || i == total-2 && short:
		return 2
	}
	return 3
}

// dpmDifferences returns x0 and its divided differences of the orders below the step's.
func (p *plan) dpmDifferences(b basis, i, order int) []row {
	d := []row{b.x0}
	if order == 1 {
		return d
	}
	_, _, next := alphaSigmaLambda(p.sigmas[i+1])
	_, _, now := alphaSigmaLambda(p.sigmas[i])
	_, _, before := alphaSigmaLambda(p.sigmas[i-1])
	h := next - now
	r0 := (now - before) / h
	newest := combine(term{1 / r0, b.x0}, term{-1 / r0, b.h[0]})
	if order == 2 {
		return append(d, newest)
	}
	_, _, earlier := alphaSigmaLambda(p.sigmas[i-2])
	r1 := (before - earlier) / h
	older := combine(term{1 / r1, b.h[0]}, term{-1 / r1, b.h[1]})
	change := combine(term{1, newest}, term{-1, older})
	return append(d, combine(term{1, newest}, term{r0 / (r0 + r1), change}), combine(term{1 / (r0 + r1), change}))
}

// dpmUpdate integrates the polynomial with the differences d over the step. With a final sigma of zero h is infinite,
// and dpmOrder gives the first order, whose formulas stay finite.
func (p *plan) dpmUpdate(b basis, i int, d []row) row {
	alpha, sigma, next := alphaSigmaLambda(p.sigmas[i+1])
	_, sigmaNow, now := alphaSigmaLambda(p.sigmas[i])
	h := next - now
	heun := p.c.SolverType == "heun" || len(d) == 3 // the third order has one form
	if p.c.AlgorithmType == "dpmsolver++" {
		phi := math.Expm1(-h)
		terms := []term{{sigma / sigmaNow, b.x}, {-alpha * phi, d[0]}}
		if len(d) > 1 && heun {
			terms = append(terms, term{alpha * (phi/h + 1), d[1]})
		} else if len(d) > 1 {
			terms = append(terms, term{-0.5 * alpha * phi, d[1]})
		}
		if len(d) > 2 {
			terms = append(terms, term{-alpha * ((phi+h)/(h*h) - 0.5), d[2]})
		}
		return combine(terms...)
	}
	decay := -math.Expm1(-2 * h)
	terms := []term{{sigma / sigmaNow * math.Exp(-h), b.x}, {alpha * decay, d[0]}, {sigma * math.Sqrt(decay), b.noise}}
	if len(d) > 1 && heun {
		terms = append(terms, term{alpha * (decay/(-2*h) + 1), d[1]})
	} else if len(d) > 1 {
		terms = append(terms, term{0.5 * alpha * decay, d[1]})
	}
	if len(d) > 2 {
		terms = append(terms, term{alpha * ((decay-2*h)/(4*h*h) - 0.5), d[2]})
	}
	return combine(terms...)
}
