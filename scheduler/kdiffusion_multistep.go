package scheduler

import "math"

// intervals calls f for every step: its index, the sigma that it starts from and the one that it leads to.
func (k *kSolver) intervals(f func(i int, from, to float64)) {
	for i, from := range k.sigmas[:len(k.sigmas)-1] {
		f(i, from, k.sigmas[i+1])
	}
}

// solveKEuler is sample_euler without churn (s_churn).
func solveKEuler(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		k.evaluate(from, combine(term{1, k.b.x}, term{to - from, k.derivative(from)}))
	})
}

// solveKEulerAncestral is sample_euler_ancestral.
func solveKEulerAncestral(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		down, up := k.ancestral(from, to)
		k.evaluate(from, combine(term{1, k.b.x}, term{down - from, k.derivative(from)}, k.noise(up)))
	})
}

// solveKLMS is sample_lms: unlike diffusers', a run that starts in the middle starts at the first order.
func solveKLMS(k *kSolver) {
	k.intervals(func(i int, from, to float64) {
		derivatives := append([]row{k.derivative(from)}, k.b.h...)
		x := k.b.x0
		if to > 0 || !k.p.c.FinalDenoise {
			order := min(i+1, lmsOrder)
			terms := []term{{1, k.b.x}}
			for j := range order {
				terms = append(terms, term{lagrangeIntegral(k.sigmas[i-order+1:i+2], j), derivatives[j]})
			}
			x = combine(terms...)
		}
		k.evaluate(from, x, derivatives[:lmsOrder-1]...)
	})
}

// solveKDPMPP2M is sample_dpmpp_2m; the history holds the prediction of the step before.
func solveKDPMPP2M(k *kSolver) {
	k.intervals(func(i int, from, to float64) {
		denoised := k.b.x0
		if i > 0 && to > 0 {
			r := math.Log(k.sigmas[i-1]/from) / math.Log(from/to)
			denoised = combine(term{1 + 1/(2*r), k.b.x0}, term{-1 / (2 * r), k.b.h[0]})
		}
		k.evaluate(from, combine(term{to / from, k.b.x}, term{1 - to/from, denoised}), k.b.x0)
	})
}

// solveKDPMPP2MSDE is sample_dpmpp_2m_sde with the midpoint or the Heun form; the history holds the prediction of the
// step before. Noise is that of a Brownian path over sigma.
func solveKDPMPP2MSDE(k *kSolver) {
	k.intervals(func(i int, from, to float64) {
		if to == 0 {
			k.evaluate(from, k.b.x0, k.b.x0)
			return
		}
		h := math.Log(from / to)
		scaled := h * (1 + k.p.c.EtaAncestral)
		terms := []term{{math.Exp(-scaled), k.b.x}, {-math.Expm1(-scaled), k.b.x0}, k.noise(k.sdeDeviation(to, h))}
		if i > 0 {
			r := math.Log(k.sigmas[i-1]/from) / h
			factor := -0.5 * math.Expm1(-scaled)
			if k.p.c.SolverType == "heun" {
				factor = math.Expm1(-scaled)/scaled + 1
			}
			terms = append(terms, term{factor / r, k.b.x0}, term{-factor / r, k.b.h[0]})
		}
		k.evaluate(from, combine(terms...), k.b.x0)
		k.pathBetween(from, to)
	})
}

// sdeDeviation is that of the noise which an SDE step of length h, in the logarithm of sigma, adds at sigma.
func (k *kSolver) sdeDeviation(sigma, h float64) float64 {
	return sigma * math.Sqrt(-math.Expm1(-2*h*k.p.c.EtaAncestral))
}

// solveKDPMPP3MSDE is sample_dpmpp_3m_sde; the history holds the predictions of the two steps before, newest first.
// Noise is as in solveKDPMPP2MSDE.
func solveKDPMPP3MSDE(k *kSolver) {
	k.intervals(func(i int, from, to float64) {
		if to == 0 {
			k.evaluate(from, k.b.x0, k.b.x0, k.b.h[0])
			return
		}
		h := math.Log(from / to)
		scaled := h * (1 + k.p.c.EtaAncestral)
		terms := []term{{math.Exp(-scaled), k.b.x}, {-math.Expm1(-scaled), k.b.x0}, k.noise(k.sdeDeviation(to, h))}
		phi2 := math.Expm1(-scaled)/scaled + 1
		var newest row
		var r0 float64
		if i > 0 {
			r0 = math.Log(k.sigmas[i-1]/from) / h
			newest = combine(term{1 / r0, k.b.x0}, term{-1 / r0, k.b.h[0]})
		}
		switch {
		case i > 1:
			r1 := math.Log(k.sigmas[i-2]/k.sigmas[i-1]) / h
			older := combine(term{1 / r1, k.b.h[0]}, term{-1 / r1, k.b.h[1]})
			change := combine(term{1 / (r0 + r1), newest}, term{-1 / (r0 + r1), older})
			terms = append(terms, term{phi2, newest}, term{phi2 * r0, change}, term{-(phi2/scaled - 0.5), change})
		case i > 0:
			terms = append(terms, term{phi2, newest})
		}
		k.evaluate(from, combine(terms...), k.b.x0, k.b.h[0])
		k.pathBetween(from, to)
	})
}

// solveKLCM is sample_lcm, with A1111's consistency functions where lcm_denoiser is set.
func solveKLCM(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		denoised := k.b.x0
		if k.p.c.LCMDenoiser {
			const sigmaData = 0.5
			scaled := k.p.levels.timestep(from) * 10
			squared := scaled*scaled + sigmaData*sigmaData
			denoised = combine(term{scaled / math.Sqrt(squared), k.b.x0}, term{sigmaData * sigmaData / squared, k.b.x})
		}
		k.evaluate(from, combine(term{1, denoised}, k.noise(to)))
	})
}
