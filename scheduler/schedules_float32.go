package scheduler

import "math"

// What torch computes of sigmas in float32, one rounding an operation: a Brownian path's noise between two sigmas changes
// with their last bits. torch's powers, exponentials and tangents may be off in the last bit, by host; these are the
// rounded ones.

// linspace32 is torch.linspace in float32.
func linspace32(start, end float64, n int) []float64 {
	narrow := make([]float32, n)
	linspaceTorch(narrow, float32(start), float32(end))
	list := make([]float64, n)
	for i, v := range narrow {
		list[i] = float64(v)
	}
	return list
}

// affine32 is v*factor + offset.
func affine32(v, factor, offset float64) float64 {
	return float64(float32(float32(v)*float32(factor)) + float32(offset))
}

// karrasSigmas are n sigmas from high down to low, evenly spaced in their seventh roots (arXiv 2206.00364).
func karrasSigmas(low, high float64, n int) []float64 {
	const rho = 7
	a, b := math.Pow(high, 1.0/rho), math.Pow(low, 1.0/rho)
	list := linspace32(0, 1, n)
	for i, r := range list {
		list[i] = float64(float32(math.Pow(affine32(r, b-a, a), rho)))
	}
	return list
}

// exponentials replaces logarithms by their exponentials.
func exponentials(logs []float64) []float64 {
	for i, l := range logs {
		logs[i] = float64(float32(math.Exp(l)))
	}
	return logs
}

// tangents are n sigmas from high down to low, evenly spaced in their arc tangents.
func tangents(low, high float64, n int) []float64 {
	a, b := float32(math.Atan(low)), float32(math.Atan(high))
	list := make([]float64, n)
	for i := range list {
		w := float32(i) / float32(n-1)
		list[i] = float64(float32(math.Tan(float64(float32(w*a) + float32((1-w)*b)))))
	}
	return list
}
