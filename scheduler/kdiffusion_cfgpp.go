package scheduler

import "math"

// cfgppClass is a sampler of CFG++ (arXiv 2406.08070) as ComfyUI has them: the guided prediction says where a step leads
// to, the unconditional one by how much noise the latents are off it. The last history tensor is the model's
// unconditional output, beside the given number of others.
func cfgppClass(calls, history int, solve func(*kSolver), own map[string]any) *class {
	c := kClass(calls, history+1, solve, own)
	c.unconditional = true
	return c
}

// unguided is the basis with the unconditional output in place of the guided one, at a sigma.
func (k *kSolver) unguided(sigma float64) basis {
	b := k.b
	last := len(b.h) - 1
	x, m := veX0(k.p.c.PredictionType, sigma)
	b.m = b.h[last]
	b.x0, b.h = combine(term{x, b.x}, term{m, b.m}), b.h[:last]
	return b
}

// noiseAt is the derivative, of the unconditional prediction in CFG++.
func (k *kSolver) noiseAt(sigma float64, cfgpp bool) row {
	b := k.b
	if cfgpp {
		b = k.unguided(sigma)
	}
	return b.veDerivative(k.p.c.PredictionType, sigma, 0)
}

// solveKEulerCFGPP is sample_euler_ancestral_cfg_pp, and with eta_ancestral 0 sample_euler_cfg_pp.
func solveKEulerCFGPP(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		down, up := k.ancestral(from, to)
		k.evaluate(from, combine(term{1, k.b.x0}, term{down, k.noiseAt(from, true)}, k.noise(up)))
	})
}

// solveKDPMPP2SACFGPP is sample_dpmpp_2s_ancestral_cfg_pp; the history holds x and the guided prediction at the start of
// the step, added up, of which each half takes its own unconditional prediction away.
func solveKDPMPP2SACFGPP(k *kSolver) {
	k.intervals(func(_ int, from, to float64) {
		down, up := k.ancestral(from, to)
		if down == 0 {
			k.evaluate(from, combine(term{1, k.b.x0}, k.noise(up)))
			return
		}
		middle := math.Sqrt(from * down)
		start := combine(term{1, k.b.x}, term{1, k.b.x0})
		half := func(sigma, to float64, start row) []term {
			return []term{{to / from, start}, {-to / from, k.unguided(sigma).x0}, {1 - to/from, k.b.x0}}
		}
		k.evaluate(from, combine(half(from, middle, start)...), start)
		k.evaluate(middle, combine(append(half(middle, down, k.b.h[0]), k.noise(up))...))
	})
}

// solveKDPMPP2MCFGPP is sample_dpmpp_2m_cfg_pp; the history holds the unconditional prediction of the step before.
func solveKDPMPP2MCFGPP(k *kSolver) {
	k.intervals(func(i int, from, to float64) {
		unconditional := k.unguided(from).x0
		terms := []term{{1, k.b.x0}, {to / from, k.b.x}, {-to / from, unconditional}}
		if i > 0 && to > 0 {
			r := math.Log(k.sigmas[i-1]/from) / math.Log(from/to)
			factor := (1 - to/from) / (2 * r)
			terms = append(terms, term{factor, k.b.x0}, term{-factor, k.b.h[0]})
		}
		k.evaluate(from, combine(terms...), unconditional)
	})
}

// resMultistep is ComfyUI's res_multistep (arXiv 2308.02157) in every form; the history holds the prediction of the step
// before, the unconditional one in CFG++.
func resMultistep(cfgpp bool) func(*kSolver) {
	return func(k *kSolver) {
		var oldDown float64
		k.intervals(func(i int, from, to float64) {
			down, up := k.ancestral(from, to)
			denoised, start := k.b.x0, k.b.x
			if cfgpp {
				denoised = k.unguided(from).x0
				start = combine(term{1, k.b.x}, term{1, k.b.x0}, term{-1, denoised})
			}
			if down == 0 || i == 0 {
				k.evaluate(from, combine(term{1, k.b.x0}, term{down, k.noiseAt(from, cfgpp)}, k.noise(up)), denoised)
			} else {
				h := math.Log(from / down)
				c2 := math.Log(oldDown/k.sigmas[i-1]) / h
				phi1 := -math.Expm1(-h) / h
				phi2 := (1 - phi1) / h
				k.evaluate(from, combine(term{math.Exp(-h), start}, term{h * (phi1 - phi2/c2), denoised},
					term{h * phi2 / c2, k.b.h[0]}, k.noise(up)), denoised)
			}
			oldDown = down
		})
	}
}

// gradientEstimation is ComfyUI's gradient_estimation (arXiv 2306.04848) with ge_gamma 2; the history holds the
// derivative of the step before, that of the unconditional prediction in CFG++.
func gradientEstimation(cfgpp bool) func(*kSolver) {
	return func(k *kSolver) {
		const gamma = 2.0
		k.intervals(func(i int, from, to float64) {
			if to == 0 {
				k.evaluate(from, k.b.x0)
				return
			}
			derivative := k.noiseAt(from, cfgpp)
			terms := []term{{1, k.b.x}, {to - from, derivative}}
			if cfgpp {
				terms = []term{{1, k.b.x0}, {to, derivative}}
			}
			if i > 0 {
				change := (gamma - 1) * (to - from)
				terms = append(terms, term{change, derivative}, term{-change, k.b.h[0]})
			}
			k.evaluate(from, combine(terms...), derivative)
		})
	}
}
