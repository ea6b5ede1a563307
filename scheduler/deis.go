package scheduler

import "math"

// solveDEIS is the diffusion exponential integrator sampler (arXiv 2204.13902) in its multistep form of order 1 to 3,
// whose polynomial is in log(rho). The history holds the predicted noise of the steps before, newest first.
func solveDEIS(p *plan) []Step {
	b := newBasis(p.c.SolverOrder - 1)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step := p.vpSigmaStep(i)
		predictions := append([]row{p.predictedNoise(b, i)}, b.h...)
		alphaNow, sigmaNow, now := p.level(p.sigmas[i])
		alpha, sigma, next := p.level(p.sigmas[i+1])
		order := p.dpmOrder(i)
		terms := []term{{alpha / alphaNow, b.x}}
		if order == 1 {
			terms = append(terms, term{-sigma * math.Expm1(next-now), predictions[0]})
		} else {
			rho := []float64{sigmaNow / alphaNow}
			for k := 1; k < order; k++ {
				older, noise, _ := p.level(p.sigmas[i-k])
				rho = append(rho, noise/older)
			}
			for k, weight := range deisWeights(sigma/alpha, rho) {
				terms = append(terms, term{alpha * weight, predictions[k]})
			}
		}
		rows := []row{combine(terms...)}
		step.Matrix = matrix(append(rows, predictions[:p.c.SolverOrder-1]...)...)
		steps = append(steps, step)
	}
	return steps
}

// deisWeights integrates from rho[0] to the next rho the Lagrange polynomials in log(rho) through two or three nodes,
// newest first.
func deisWeights(next float64, rho []float64) []float64 {
	log := math.Log
	integral := func(t float64, node int) float64 {
		b, c := log(rho[node]), log(rho[(node+1)%len(rho)])
		if len(rho) == 2 {
			return t * (-c + log(t) - 1) / (b - c)
		}
		d := log(rho[(node+2)%len(rho)])
		l := log(t)
		return t * (c*(d-l+1) - d*l + d + l*l - 2*l + 2) / ((b - c) * (b - d))
	}
	weights := make([]float64, len(rho))
	for node := range rho {
		weights[node] = integral(next, node) - integral(rho[0], node)
	}
	return weights
}
