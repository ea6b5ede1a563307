package scheduler

import "math"

// historySA is the number of tensors that SA-Solver keeps: the corrected latents and the noise of the step before, and
// its predictions, newest first.
func historySA(c *Config) int { return 2 + max(c.PredictorOrder, c.CorrectorOrder-1) }

// solveSA is the stochastic Adams solver (arXiv 2309.05019). Each step first corrects x with its new prediction and the
// noise that the step before drew, then predicts onwards with noise of its own. tau, the amount of noise, is 1 from
// timestep 200 to 800 and 0 elsewhere.
func solveSA(p *plan) []Step {
	c := p.c
	b := newBasis(historySA(c))
	lastX, lastNoise, older := b.h[0], b.h[1], b.h[2:]
	var steps []Step
	corrector := 0 // order of the next correction
	for i := p.first; i < p.end; i++ {
		step := p.vpSigmaStep(i)
		step.Noise = true
		bar := p.train.alpha(int(p.timesteps[i])) // its add_noise goes by timestep
		step.Alpha, step.Sigma = math.Sqrt(bar), math.Sqrt(1-bar)
		prediction := b.x0
		if c.AlgorithmType == "noise_prediction" {
			prediction = p.predictedNoise(b, i)
		}
		predictions := append([]row{prediction}, older...)
		x := b.x
		if i > p.first {
			x = p.adams(adamsStep{i - 1, i, corrector, p.tau(i - 1), i, true}, lastX, lastNoise, predictions)
		}
		predictor := c.PredictorOrder
		corrector = c.CorrectorOrder
		if c.LowerOrderFinal {
			predictor = min(predictor, len(p.timesteps)-i)
			corrector = min(corrector, len(p.timesteps)-i+1)
		}
		behind := min(i-p.first, len(older))
		predictor, corrector = min(predictor, behind+1), min(corrector, behind+2)
		next := p.adams(adamsStep{i, i + 1, predictor, p.tau(i), i, false}, x, b.noise, predictions)
		step.Matrix = matrix(append([]row{next, x, b.noise}, predictions[:len(older)]...)...)
		steps = append(steps, step)
	}
	return steps
}

// tau is the amount of noise at index i.
func (p *plan) tau(i int) float64 {
	if t := p.timesteps[i]; t >= 200 && t <= 800 {
		return 1
	}
	return 0
}

// adamsStep is a predicting or correcting step between two indexes of the noise levels, with the predictions of newest,
// newest-1, …
type adamsStep struct {
	from, to, order int
	tau             float64
	newest          int
	correct         bool
}

// adams is one step of the stochastic Adams methods: Bashforth to predict, Moulton to correct.
func (p *plan) adams(s adamsStep, x, noise row, predictions []row) row {
	alphaNow, sigmaNow, now := p.level(p.sigmas[s.from])
	alpha, sigma, next := p.level(p.sigmas[s.to])
	h := next - now
	nodes := make([]float64, s.order) // lambda, counted from the end of the step
	for k := range nodes {
		_, _, lambda := p.level(p.sigmas[s.newest-k])
		nodes[k] = lambda - next
	}
	data := p.c.AlgorithmType == "data_prediction"
	v := 1 + s.tau*s.tau
	rate, factor := v, v*alpha
	terms := []term{{math.Exp(-s.tau*s.tau*h) * sigma / sigmaNow, x}, {sigma * math.Sqrt(-math.Expm1(-2*s.tau*s.tau*h)), noise}}
	if !data {
		rate, factor = -1, -v*sigma
		terms = []term{{alpha / alphaNow, x}, {s.tau * sigma * math.Sqrt(math.Expm1(2*h)), noise}}
	}
	moments := exponentialMoments(s.order, rate, h)
	weights := make([]float64, s.order)
	for k := range weights {
		for power, coefficient := range lagrangePolynomial(nodes, k) {
			weights[k] += coefficient * moments[power]
		}
	}
	if data && s.order == 2 { // the reference's correction for few steps
		change := (h*v - 1 + math.Exp(-v*h)) / (v * v)
		if s.correct {
			change = h/2 - change/h
		} else {
			_, _, before := p.level(p.sigmas[s.from-1])
			change = (h*h/2 - change) / (now - before)
		}
		weights[0] += change
		weights[1] -= change
	}
	for k, w := range weights {
		terms = append(terms, term{factor * w, predictions[k]})
	}
	return combine(terms...)
}

// exponentialMoments are the integrals of t^k·e^(rate·t) from -h to 0, for k below n.
func exponentialMoments(n int, rate, h float64) []float64 {
	moments := make([]float64, n)
	moments[0] = -math.Expm1(-rate*h) / rate
	for k := 1; k < n; k++ {
		moments[k] = -math.Pow(-h, float64(k))*math.Exp(-rate*h)/rate - float64(k)/rate*moments[k-1]
	}
	return moments
}

// lagrangePolynomial has the coefficients, of the constant first, of the polynomial that is one at the given node and
// zero at the others.
func lagrangePolynomial(nodes []float64, own int) []float64 {
	polynomial := []float64{1}
	for k, node := range nodes {
		if k == own {
			continue
		}
		next := make([]float64, len(polynomial)+1)
		for power, c := range polynomial {
			next[power+1] += c / (nodes[own] - node)
			next[power] -= c * node / (nodes[own] - node)
		}
		polynomial = next
	}
	return polynomial
}
