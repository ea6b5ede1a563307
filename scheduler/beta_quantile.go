package scheduler

import "math"

// betaShape is both parameters of the Beta distribution of arXiv 2407.12173.
const betaShape = 0.6

// betaNorm is the complete beta function B(0.6, 0.6).
var betaNorm = math.Gamma(betaShape) * math.Gamma(betaShape) / math.Gamma(2*betaShape)

// betaQuantile is the inverse cumulative distribution of Beta(0.6, 0.6) at p in [0, 1], to about 1e-15.
func betaQuantile(p float64) float64 {
	if p > 0.5 {
		return 1 - betaQuantile(1-p)
	}
	if p <= 0 {
		return 0
	}
	// In u = x^a the distribution is nearly straight, u/(a·B)·F(x), so Newton's method from F = 1 settles at once.
	scale := betaShape * betaNorm
	u := p * scale
	for range 50 {
		x := math.Pow(u, 1/betaShape)
		// d/du of the distribution: (1-x)^(a-1) / (a·B).
		delta := (u*betaSeries(x) - p*scale) / math.Pow(1-x, betaShape-1)
		u -= delta
		if math.Abs(delta) <= 1e-16*u {
			break
		}
	}
	return math.Pow(u, 1/betaShape)
}

// betaSeries is the hypergeometric 2F1(a, 1-a; a+1; x) for x in [0, 1/2]: the incomplete beta function over x^a/a.
func betaSeries(x float64) float64 {
	sum, power := 1.0, 1.0
	for k := 1.0; k < 200; k++ {
		power *= (k - betaShape) / k * x
		term := power * betaShape / (betaShape + k)
		sum += term
		if term <= 1e-17*sum {
			break
		}
	}
	return sum
}
