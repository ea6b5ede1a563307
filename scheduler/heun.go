package scheduler

// solveHeun alternates two calls: an Euler step that keeps its derivative and its start (the history), and a correction
// by the mean of both derivatives. A run that starts in the middle begins with the first kind.
func solveHeun(p *plan) []Step {
	b := newBasis(2)
	prediction, clip := p.c.PredictionType, p.c.clip()
	derivative, start := b.h[0], b.h[1]
	zero := make(row, len(b.x))
	var steps []Step
	var dt float64
	for i := p.first; i < p.end; i++ {
		sigma := p.sigmas[i]
		step := p.veStep(i)
		step.Clip = clip
		d := b.veDerivative(prediction, sigma, clip)
		if (i-p.first)%2 == 0 {
			dt = p.sigmas[i+1] - sigma
			step.Matrix = matrix(combine(term{1, b.x}, term{dt, d}), d, b.x)
		} else {
			step.Matrix = matrix(combine(term{1, start}, term{dt / 2, derivative}, term{dt / 2, d}), zero, zero)
		}
		steps = append(steps, step)
	}
	return steps
}
