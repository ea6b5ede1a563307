package scheduler

// solveSinglestep is DPM-Solver or DPM-Solver++ in its single-step form: the steps go in groups of two or three, of
// which the last starts again from the group's first latents. The history holds these, then the predictions of the
// steps before, newest first.
func solveSinglestep(p *plan) []Step {
	order := p.c.SolverOrder
	b := newBasis(order)
	group, older := b.h[0], b.h[1:]
	orders := p.singlestepOrders(len(p.timesteps))
	var steps []Step
	for i := p.first; i < p.end; i++ {
		step := p.vpSigmaStep(i)
		step.Noise = p.c.stochastic()
		prediction := b.x0
		if p.c.predictsNoise() {
			prediction = p.predictedNoise(b, i)
		}
		predictions := append([]row{prediction}, older...)
		now := min(orders[i], i-p.first+1)
		start := group
		if now == 1 {
			start = b.x
		}
		rows := []row{p.singlestepUpdate(b, i, start, predictions[:now]), start}
		step.Matrix = matrix(append(rows, predictions[:order-1]...)...)
		steps = append(steps, step)
	}
	return steps
}

// singlestepOrders is the order of every step, rising within its group. An uneven number of steps and a final sigma of
// zero both ask for lower orders at the end.
func (p *plan) singlestepOrders(n int) []int {
	order := p.c.SolverOrder
	orders := make([]int, n)
	for i := range orders {
		orders[i] = i%order + 1
	}
	if p.c.LowerOrderFinal || n%order != 0 || p.c.FinalSigmasType == "zero" {
		orders[n-1] = 1
		if order == 3 && n%3 == 0 {
			orders[n-2] = 2
		}
		if order == 3 && n%3 == 2 {
			orders[n-1] = 2
		}
	}
	if p.c.FinalSigmasType == "zero" {
		orders[n-1] = 1
	}
	return orders
}

// singlestepUpdate goes from the start of the group to the noise level after index i, with the group's predictions,
// newest first.
func (p *plan) singlestepUpdate(b basis, i int, start row, predictions []row) row {
	order := len(predictions)
	first := i - order + 1 // index of the group's start
	f := p.dpmFactors(first, i+1)
	oldest := predictions[order-1]
	terms := []term{{f.x, start}, {f.first, oldest}}
	if f.noise != 0 {
		terms = append(terms, term{f.noise, b.noise})
	}
	_, _, from := p.level(p.sigmas[first])
	_, _, to := p.level(p.sigmas[i+1])
	ratio := func(k int) float64 {
		_, _, lambda := p.level(p.sigmas[k])
		return (lambda - from) / (to - from)
	}
	difference := func(k int) row { // of predictions[k] to the oldest
		r := ratio(i - k)
		return combine(term{1 / r, predictions[k]}, term{-1 / r, oldest})
	}
	heun := p.c.SolverType == "heun"
	switch {
	case order == 2 && heun:
		terms = append(terms, term{f.heun(), difference(0)})
	case order == 2:
		terms = append(terms, term{f.midpoint, difference(0)})
	case order == 3 && !heun:
		terms = append(terms, term{f.heun(), difference(0)})
	case order == 3:
		r0, r1 := ratio(i), ratio(i-1)
		d0, d1 := difference(1), difference(0)
		slope := combine(term{r0 / (r0 - r1), d0}, term{-r1 / (r0 - r1), d1})
		curve := combine(term{2 / (r0 - r1), d1}, term{-2 / (r0 - r1), d0})
		terms = append(terms, term{f.heun(), slope}, term{f.third(), curve})
	}
	return combine(terms...)
}
