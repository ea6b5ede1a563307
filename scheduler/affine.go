package scheduler

import "math"

// row is a linear combination of x, x0, m, noise and the history tensors.
type row []float64

// basis holds the unit rows for k history tensors.
type basis struct {
	x, x0, m, noise row
	h               []row
}

func newBasis(k int) basis {
	unit := func(i int) row {
		r := make(row, 4+k)
		r[i] = 1
		return r
	}
	b := basis{x: unit(0), x0: unit(1), m: unit(2), noise: unit(3)}
	for i := range k {
		b.h = append(b.h, unit(4+i))
	}
	return b
}

// term is a row times a factor.
type term struct {
	factor float64
	row    row
}

// combine sums terms. A factor that is not finite makes the whole row so, as in the reference; the check of the
// schedule finds it.
func combine(terms ...term) row {
	sum := make(row, len(terms[0].row))
	for _, t := range terms {
		for i, v := range t.row {
			sum[i] += t.factor * v
		}
	}
	return sum
}

// matrix is the step's map: the new x, then the new history.
func matrix(rows ...row) [][]float64 {
	out := make([][]float64, len(rows))
	for i, r := range rows {
		out[i] = r
	}
	return out
}

// veX0 returns x0 = a*x + b*m for variance-exploding (VE) latents x = x0 + sigma*noise.
func veX0(prediction string, sigma float64) (a, b float64) {
	switch prediction {
	case "epsilon":
		return 1, -sigma
	case "v_prediction":
		return 1 / (sigma*sigma + 1), -sigma / math.Sqrt(sigma*sigma+1)
	default: // sample
		return 0, 1
	}
}

// veDerivative is (x - x0)/sigma, the derivative of the ODE. Without a clip it is written in x and m, where no large
// terms cancel.
func (b basis) veDerivative(prediction string, sigma, clip float64) row {
	if clip == 0 {
		switch prediction {
		case "epsilon":
			return b.m
		case "v_prediction":
			return combine(term{sigma / (sigma*sigma + 1), b.x}, term{1 / math.Sqrt(sigma*sigma+1), b.m})
		}
	}
	return combine(term{1 / sigma, b.x}, term{-1 / sigma, b.x0})
}

// vpX0 returns x0 = a*x + b*m for variance-preserving (VP) latents x = alpha*x0 + sigma*noise.
func vpX0(prediction string, alpha, sigma float64) (a, b float64) {
	switch prediction {
	case "epsilon":
		return 1 / alpha, -sigma / alpha
	case "v_prediction":
		return alpha, -sigma
	default: // sample
		return 0, 1
	}
}

// vpEpsilon is the predicted noise, epsilon. It is not recomputed from a clipped x0.
func (b basis) vpEpsilon(prediction string, alpha, sigma float64) row {
	switch prediction {
	case "epsilon":
		return b.m
	case "v_prediction":
		return combine(term{alpha, b.m}, term{sigma, b.x})
	default: // sample
		return combine(term{1 / sigma, b.x}, term{-alpha / sigma, b.m})
	}
}

// alphaSigmaLambda converts the sigma of VE latents to the factors alpha and sigma of VP latents, and to half their log
// signal-to-noise ratio, lambda.
func alphaSigmaLambda(sigma float64) (alpha, noise, lambda float64) {
	alpha = 1 / math.Sqrt(sigma*sigma+1)
	noise = sigma * alpha
	return alpha, noise, math.Log(alpha) - math.Log(noise)
}

// level splits a sigma into the factors alpha and sigma of the latents and half their log signal-to-noise ratio,
// lambda: for flow matching, for EDM's VE latents, or for VP latents.
func (p *plan) level(sigma float64) (alpha, noise, lambda float64) {
	switch {
	case p.c.UseFlowSigmas:
		return 1 - sigma, sigma, math.Log(1-sigma) - math.Log(sigma)
	case p.c.Class == EDMDPMSolver:
		return 1, sigma, -math.Log(sigma)
	}
	return alphaSigmaLambda(sigma)
}

// clip is the bound on x0, or 0.
func (c *Config) clip() float64 {
	if c.ClipSample {
		return c.ClipSampleRange
	}
	return 0
}
