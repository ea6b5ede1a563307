package scheduler

import "math"

// sigmaAt interpolates the training sigmas at a timestep as numpy.interp does; outside it clamps.
func (t *training) sigmaAt(timestep float64) float64 {
	last := len(t.sigmas) - 1
	switch {
	case timestep <= 0:
		return float64(t.sigmas[0])
	case timestep >= float64(last):
		return float64(t.sigmas[last])
	}
	low := math.Floor(timestep)
	a, b := float64(t.sigmas[int(low)]), float64(t.sigmas[int(low)+1])
	return (b-a)*(timestep-low) + a
}

func (t *training) sigmasAt(timesteps []float64) []float64 {
	list := make([]float64, len(timesteps))
	for i, ts := range timesteps {
		list[i] = t.sigmaAt(ts)
	}
	return list
}

// logLinear returns n training sigmas from high down to low, equally spaced in their logarithm.
func (t *training) logLinear(n int) []float64 {
	list := make([]float32, n)
	linspaceTorch(list, t.logSigmas[len(t.logSigmas)-1], t.logSigmas[0])
	out := make([]float64, n)
	for i, l := range list {
		out[i] = float64(float32(math.Exp(float64(l))))
	}
	return out
}

// timestepAt inverts sigmaAt in log sigma, clamped to the training range.
func (t *training) timestepAt(sigma float64) float64 {
	logSigma := math.Log(max(sigma, 1e-10))
	if len(t.logSigmas) < 2 {
		return math.NaN()
	}
	low := t.lowIndex(func(l float32) bool { return float64(l) <= logSigma })
	a, b := t.logSigmas[low], t.logSigmas[low+1]
	w := (float64(a) - logSigma) / float64(a-b)
	w = min(max(w, 0), 1)
	return (1-w)*float64(low) + w*float64(low+1)
}

// timestepAt32 is timestepAt for a float32 sigma, all of whose arithmetic numpy keeps in float32.
func (t *training) timestepAt32(sigma float32) float64 {
	logSigma := logNumpy(max(sigma, 1e-10))
	if len(t.logSigmas) < 2 {
		return math.NaN()
	}
	low := t.lowIndex(func(l float32) bool { return l <= logSigma })
	a, b := t.logSigmas[low], t.logSigmas[low+1]
	w := (a - logSigma) / (a - b)
	w = min(max(w, 0), 1)
	return float64(1-w)*float64(low) + float64(w)*float64(low+1)
}

// lowIndex is the last index whose log sigma is not above the wanted one, 0 if none is, and never the very last.
func (t *training) lowIndex(notAbove func(float32) bool) int {
	low := 0
	for i, l := range t.logSigmas {
		if notAbove(l) {
			low = i
		}
	}
	return min(low, len(t.logSigmas)-2)
}

// convertSigmas returns n Karras, exponential or beta sigmas from high down to low, or nil where the config has none of
// these. The config's own sigma_min and sigma_max replace low and high.
func (c *Config) convertSigmas(low, high float64, n int) []float64 {
	// LMS has its own Karras function, which alone ignores the bounds.
	if !(c.Class == LMS && c.UseKarrasSigmas) {
		if c.SigmaMin != nil {
			low = *c.SigmaMin
		}
		if c.SigmaMax != nil {
			high = *c.SigmaMax
		}
	}
	ramp := linspace(0, 1, n)
	switch {
	case c.UseKarrasSigmas:
		const rho = 7
		a, b := math.Pow(high, 1.0/rho), math.Pow(low, 1.0/rho)
		for i, r := range ramp {
			ramp[i] = math.Pow(a+r*(b-a), rho)
		}
	case c.UseExponentialSigmas:
		ramp = linspace(math.Log(high), math.Log(low), n)
		for i, l := range ramp {
			ramp[i] = math.Exp(l)
		}
	case c.UseBetaSigmas:
		for i, r := range ramp {
			ramp[i] = low + betaQuantile(1-r)*(high-low)
		}
	default:
		return nil
	}
	return ramp
}

// logNumpy is numpy's vectorised float32 logarithm for normal x > 0. Its last bit decides whether the highest timestep
// of a converted schedule truncates to 998 or 999.
func logNumpy(x float32) float32 {
	const (
		sqrtHalf = 0.70710678118654752440
		ln2      = 0.693147180559945309417232121458176568
	)
	fraction, exponent := math.Frexp(float64(x))
	m, e := float32(fraction), float32(exponent)
	if m <= float32(sqrtHalf) {
		e--
		m += m
	}
	m--
	numerator, denominator := float32(2.589979117907922693523e-02), float32(5.875095403124574342950e-03)
	for _, c := range [...][2]float32{
		{3.808837741388407920751e-01, 1.546476374983906719538e-01},
		{1.480000633576506585156e+00, 9.864942958519418960339e-01},
		{2.112677543073053063722e+00, 2.453006071784736363091e+00},
		{9.999999999999998702752e-01, 2.612677543073109236779e+00},
		{0, 1},
	} {
		numerator = fma(numerator, m, c[0])
		denominator = fma(denominator, m, c[1])
	}
	return fma(e, ln2, numerator/denominator)
}
