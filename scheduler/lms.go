package scheduler

import "math"

// lmsOrder is the greatest number of derivatives that LMSDiscreteScheduler.step combines.
const lmsOrder = 4

// solveLMS is the linear multistep method: the Lagrange polynomial through the last derivatives, integrated over the
// step. A run that starts in the middle takes its coefficients for the order of the index, though it does not have the
// derivatives yet and leaves them out; that is the reference's doing.
func solveLMS(p *plan) []Step {
	b := newBasis(lmsOrder - 1)
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step := p.veStep(i)
		d := b.veDerivative(p.c.PredictionType, p.sigmas[i], 0)
		derivatives := append([]row{d}, b.h...)
		order := min(i+1, lmsOrder)
		terms := []term{{1, b.x}}
		for j := range min(order, i-p.first+1) {
			terms = append(terms, term{lagrangeIntegral(p.sigmas[i-order+1:i+2], j), derivatives[j]})
		}
		step.Matrix = matrix(combine(terms...), derivatives[0], derivatives[1], derivatives[2])
		steps = append(steps, step)
	}
	return steps
}

// lagrangeIntegral integrates, from the last but one sigma to the last, the Lagrange polynomial that is one at the j-th
// sigma counted back from the last but one and zero at the others. Two Gauss points are exact up to degree 3.
func lagrangeIntegral(sigmas []float64, j int) float64 {
	last := len(sigmas) - 1
	nodes := sigmas[:last]
	own := last - 1 - j
	middle := (sigmas[last-1] + sigmas[last]) / 2
	half := (sigmas[last] - sigmas[last-1]) / 2
	var sum float64
	for _, side := range []float64{-1, 1} {
		tau := middle + side*half/math.Sqrt(3)
		value := 1.0
		for k, node := range nodes {
			if k != own {
				value *= (tau - node) / (nodes[own] - node)
			}
		}
		sum += value * half
	}
	return sum
}
