package scheduler

import (
	"math"
	"slices"
)

// solveUniPC is UniPC (arXiv 2302.04867), in x0 or in the predicted noise. Each step first corrects x with its new prediction, then
// predicts onwards. The history holds the corrected x of the step before, then its predictions, newest first.
func solveUniPC(p *plan) []Step {
	c := p.c
	b := newBasis(c.SolverOrder + 1)
	lastX, before := b.h[0], b.h[1:]
	var steps []Step
	order := 0 // of the step before
	for i := p.first; i < p.end; i++ {
		step := p.vpSigmaStep(i)
		prediction := b.x0
		if c.unipcNoise() {
			step.Clip, step.Threshold = 0, nil
			alpha, noise, _ := p.level(p.sigmas[i])
			prediction = b.vpEpsilon(c.PredictionType, alpha, noise)
		}
		predictions := append([]row{prediction}, before...)
		corrected := b.x
		if i > p.first && !slices.Contains(c.DisableCorrector, i-1) {
			corrected = p.unipcCorrect(i, order, lastX, prediction, before)
		}
		order = c.SolverOrder
		if c.LowerOrderFinal {
			order = min(order, len(p.timesteps)-i)
		}
		order = min(order, i-p.first+1)
		rows := []row{p.unipcPredict(i, order, corrected, predictions), corrected}
		step.Matrix = matrix(append(rows, predictions[:c.SolverOrder]...)...)
		steps = append(steps, step)
	}
	return steps
}

// unipcNoise says whether UniPC works with the predicted noise, not with x0, which A1111's always does.
func (c *Config) unipcNoise() bool { return c.Class == UniPC && !c.PredictX0 }

// unipcInterval is the step between two noise levels in the terms of the paper.
type unipcInterval struct {
	decay, scale float64 // factors of x and of the predictions
	phi, bh      float64 // e^h - 1 and B(h), with h or, for x0, with -h
	ratios       []float64
	moments      []float64 // right-hand sides for the weights
}

// interval goes from the noise level of index from to the next one; order-1 older noise levels give the ratios.
func (p *plan) interval(from, order int) unipcInterval {
	alpha, sigma, next := p.level(p.sigmas[from+1])
	alphaNow, sigmaNow, now := p.level(p.sigmas[from])
	h := next - now
	hh := -h
	v := unipcInterval{decay: sigma / sigmaNow, scale: alpha}
	if p.c.unipcNoise() {
		hh = h
		v.decay, v.scale = alpha/alphaNow, sigma
	}
	v.phi = math.Expm1(hh)
	v.bh = v.phi
	if p.c.SolverType == "bh1" {
		v.bh = hh
	}
	for k := 1; k < order; k++ {
		_, _, older := p.level(p.sigmas[from-k])
		v.ratios = append(v.ratios, (older-now)/h)
	}
	v.ratios = append(v.ratios, 1)
	phiK, factorial := v.phi/hh-1, 1.0
	for k := 1; k <= order; k++ {
		v.moments = append(v.moments, phiK*factorial/v.bh)
		factorial *= float64(k + 1)
		phiK = phiK/hh - 1/factorial
	}
	return v
}

// unipcCorrect replaces the x that was predicted for index i by one computed with the prediction x0 made there. newest
// first, before holds the predictions of the steps before.
func (p *plan) unipcCorrect(i, order int, lastX, x0 row, before []row) row {
	v := p.interval(i-1, order)
	weights := []float64{0.5}
	if order > 1 {
		weights = solveVandermonde(v.ratios, v.moments)
	}
	terms := []term{{v.decay, lastX}, {-v.scale * v.phi, before[0]}}
	for k := 1; k < order; k++ {
		w := -v.scale * v.bh * weights[k-1] / v.ratios[k-1]
		terms = append(terms, term{w, before[k]}, term{-w, before[0]})
	}
	w := -v.scale * v.bh * weights[order-1]
	return combine(append(terms, term{w, x0}, term{-w, before[0]})...)
}

// unipcPredict goes from index i to the next, from the corrected x and the predictions, newest first.
func (p *plan) unipcPredict(i, order int, x row, predictions []row) row {
	v := p.interval(i, order)
	// B(h) meets no difference at order 1, but the reference multiplies it by zero, and infinity makes that a NaN.
	terms := []term{{v.decay, x}, {-v.scale*v.phi - v.scale*v.bh*0, predictions[0]}}
	weights := []float64{0.5}
	if order > 2 {
		weights = solveVandermonde(v.ratios[:order-1], v.moments[:order-1])
	}
	for k := 1; k < order; k++ {
		w := -v.scale * v.bh * weights[k-1] / v.ratios[k-1]
		terms = append(terms, term{w, predictions[k]}, term{-w, predictions[0]})
	}
	return combine(terms...)
}

// solveVandermonde returns w with Σ_k ratios[k]^j · w[k] = moments[j] for every j, by elimination with row pivots.
func solveVandermonde(ratios, moments []float64) []float64 {
	n := len(ratios)
	a := make([][]float64, n)
	for j := range a {
		a[j] = make([]float64, n+1)
		for k, r := range ratios {
			a[j][k] = math.Pow(r, float64(j))
		}
		a[j][n] = moments[j]
	}
	for col := range n {
		pivot := col
		for j := col + 1; j < n; j++ {
			if math.Abs(a[j][col]) > math.Abs(a[pivot][col]) {
				pivot = j
			}
		}
		a[col], a[pivot] = a[pivot], a[col]
		for j := range n {
			if j != col {
				f := a[j][col] / a[col][col]
				for k := col; k <= n; k++ {
					a[j][k] -= f * a[col][k]
				}
			}
		}
	}
	w := make([]float64, n)
	for j := range w {
		w[j] = a[j][n] / a[j][j]
	}
	return w
}
