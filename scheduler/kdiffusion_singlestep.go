package scheduler

import "math"

// heunStep is a step of Heun's method: an Euler step, and where it does not end at zero a correction by the mean of
// the derivatives at both ends. up is the deviation of noise that is added after it.
func (k *kSolver) heunStep(from, to, up float64) {
	d := k.derivative(from)
	euler := combine(term{1, k.b.x}, term{to - from, d})
	if to == 0 {
		k.evaluate(from, combine(term{1, euler}, k.noise(up)))
		return
	}
	k.evaluate(from, euler, k.b.x, d)
	start, first := k.b.h[0], k.b.h[1]
	half := (to - from) / 2
	k.evaluate(to, combine(term{1, start}, term{half, first}, term{half, k.derivative(to)}, k.noise(up)))
}

// solveKHeun is sample_heun without churn (s_churn).
func solveKHeun(k *kSolver) {
	k.intervals(func(_ int, from, to float64) { k.heunStep(from, to, 0) })
}

// dpm2Step is a step of DPM-Solver-2: the derivative at the geometric mean of both sigmas leads over all of it.
func (k *kSolver) dpm2Step(from, down, up float64) {
	if down == 0 {
		k.evaluate(from, combine(term{1, k.b.x}, term{-from, k.derivative(from)}))
		return
	}
	middle := math.Sqrt(from * down)
	k.evaluate(from, combine(term{1, k.b.x}, term{middle - from, k.derivative(from)}), k.b.x)
	k.evaluate(middle, combine(term{1, k.b.h[0]}, term{down - from, k.derivative(middle)}, k.noise(up)))
}

// solveKDPM2 is sample_dpm_2 without churn (s_churn). Unlike diffusers' KDPM2DiscreteScheduler it interpolates sigmas
// from the schedule as it is and has timesteps between whole ones.
func solveKDPM2(k *kSolver) {
	k.intervals(func(_ int, from, to float64) { k.dpm2Step(from, to, 0) })
}

// solveKDPM2Ancestral is sample_dpm_2_ancestral.
func solveKDPM2Ancestral(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		down, up := k.ancestral(from, to)
		k.dpm2Step(from, down, up)
	})
}

// solveKDPMPP2SA is sample_dpmpp_2s_ancestral; the history holds x at the start of the step.
func solveKDPMPP2SA(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		down, up := k.ancestral(from, to)
		if down == 0 {
			k.evaluate(from, combine(term{1, k.b.x}, term{-from, k.derivative(from)}, k.noise(up)))
			return
		}
		middle := math.Sqrt(from * down)
		k.evaluate(from, combine(term{middle / from, k.b.x}, term{1 - middle/from, k.b.x0}), k.b.x)
		k.evaluate(middle, combine(term{down / from, k.b.h[0]}, term{1 - down/from, k.b.x0}, k.noise(up)))
	})
}

// solveKDPMPPSDE is sample_dpmpp_sde with r = 1/2; the history holds x at the start of the step. Noise is that of a
// Brownian path over sigma: the whole step's contains that of its first half. The path is asked for at the levels to
// which logarithms in float32 lead.
func solveKDPMPPSDE(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		if to == 0 {
			k.evaluate(from, combine(term{1, k.b.x}, term{-from, k.derivative(from)}))
			return
		}
		middle := math.Sqrt(from * to)
		down, up := k.ancestral(from, middle)
		start, end := minusLog(from), minusLog(to)
		high, low := expMinus(start), expMinus(end)
		if k.p.c.PathOfRun {
			high, low = from, to
		}
		k.evaluate(from, combine(term{down / from, k.b.x}, term{1 - down/from, k.b.x0}, k.noise(up)), k.b.x)
		k.pathBetween(high, expMinus(halfway(start, end)))
		down, up = k.ancestral(from, to)
		k.evaluate(middle, combine(term{down / from, k.b.h[0]}, term{1 - down/from, k.b.x0}, k.noise(up)))
		k.pathBetween(high, low)
	})
}

// solveKDPMFast is sample_dpm_fast: DPM-Solver steps of the third order over equal parts of the logarithm of sigma, the
// last ones of the order for which evaluations are left. It ends at the lowest sigma, not at zero. The history holds x
// and the derivative at the start of the step.
func solveKDPMFast(k *kSolver) {
	n := len(k.sigmas) - 1
	highest, lowest := k.sigmas[0], k.sigmas[n]
	if lowest == 0 {
		lowest = k.sigmas[n-1]
	}
	if all := k.p.levels.sigmas; k.p.c.ModelSigmaRange && k.p.o.Steps > 0 && n == len(k.p.timesteps) {
		n, highest, lowest = k.p.steps, all[len(all)-1], all[0]
	}
	parts := n/3 + 1
	bounds := linspace(-math.Log(highest), -math.Log(lowest), parts+1)
	for i, left := 0, n; left > 0; i++ {
		order := min(left, 3)
		if n%3 == 0 && i == parts-2 {
			order = 2
		}
		left -= order
		k.dpmSolverStep(order, bounds[i], bounds[i+1], bounds[parts])
	}
}

// dpmSolverStep goes from t to next, which are negative logarithms of sigma and at most end.
func (k *kSolver) dpmSolverStep(order int, t, next, end float64) {
	sigma := func(t float64) float64 { return math.Exp(-t) }
	from, target := sigma(t), next
	if k.p.c.EtaAncestral > 0 {
		down, _ := k.ancestral(from, sigma(next))
		target = min(end, -math.Log(down))
	}
	to, h := sigma(target), target-t
	noise := k.noise(math.Sqrt(max(sigma(next)*sigma(next)-to*to, 0)))
	if order == 1 {
		k.evaluate(from, combine(term{1, k.b.x}, term{-to * math.Expm1(h), k.derivative(from)}, noise))
		return
	}
	x, first := k.b.h[0], k.b.h[1]
	r := 1 / float64(order)
	middle := sigma(t + r*h)
	k.evaluate(from, combine(term{1, k.b.x}, term{-middle * math.Expm1(r*h), k.derivative(from)}), k.b.x, k.derivative(from))
	if order == 2 {
		f := to * math.Expm1(h)
		k.evaluate(middle, combine(term{1, x}, term{-f + f/(2*r), first}, term{-f / (2 * r), k.derivative(middle)}, noise))
		return
	}
	const r2 = 2.0 / 3
	later := sigma(t + r2*h)
	f := later * (r2 / r) * (math.Expm1(r2*h)/(r2*h) - 1)
	k.evaluate(middle, combine(term{1, x}, term{-later*math.Expm1(r2*h) + f, first}, term{-f, k.derivative(middle)}), x, first)
	f = to / r2 * (math.Expm1(h)/h - 1)
	k.evaluate(later, combine(term{1, x}, term{-to*math.Expm1(h) + f, first}, term{-f, k.derivative(later)}, noise))
}
