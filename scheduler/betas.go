package scheduler

import (
	"fmt"
	"math"
)

// training is the noise schedule that the model was trained with, in torch's float32 values.
type training struct {
	alphasCumprod []float32
	sigmas        []float32 // sqrt((1-a)/a), by timestep
	logSigmas     []float32
}

// zeroSNRFloor replaces the last cumulative alpha, which rescaling makes zero, in the classes that work with sigmas.
const zeroSNRFloor = 1.0 / (1 << 24)

func newTraining(c *Config) (*training, error) {
	if isK(c.Class) {
		return newKTraining(c)
	}
	betas, err := c.betas()
	if err != nil {
		return nil, err
	}
	if c.RescaleZeroSNR {
		betas = rescaleZeroTerminalSNR(betas)
	}
	t := &training{alphasCumprod: cumulativeAlphas(betas)}
	last := len(betas) - 1
	switch c.Class {
	case Euler, EulerAncestral, DPMSolver, UniPC:
		if c.RescaleZeroSNR {
			t.alphasCumprod[last] = zeroSNRFloor
		}
	}
	t.sigmas = make([]float32, len(betas))
	t.logSigmas = make([]float32, len(betas))
	for i, a := range t.alphasCumprod {
		// torch's own square root is allowed to be off in the last bit, by host; this is the rounded one.
		t.sigmas[i] = float32(math.Sqrt(float64((1 - a) / a)))
		t.logSigmas[i] = logNumpy(t.sigmas[i])
	}
	return t, nil
}

func (c *Config) betas() ([]float32, error) {
	n := c.NumTrainTimesteps
	betas := make([]float32, n)
	switch {
	case len(c.TrainedBetas) > 0:
		for i, b := range c.TrainedBetas {
			betas[i] = float32(b)
		}
	case c.BetaSchedule == "linear":
		linspaceTorch(betas, float32(c.BetaStart), float32(c.BetaEnd))
	case c.BetaSchedule == "scaled_linear":
		linspaceTorch(betas, float32(math.Sqrt(c.BetaStart)), float32(math.Sqrt(c.BetaEnd)))
		for i, root := range betas {
			betas[i] = root * root
		}
	case c.BetaSchedule == "squaredcos_cap_v2":
		bar := func(t float64) float64 {
			cos := math.Cos((t + 0.008) / 1.008 * math.Pi / 2)
			return cos * cos
		}
		for i := range betas {
			betas[i] = float32(min(1-bar(float64(i+1)/float64(n))/bar(float64(i)/float64(n)), 0.999))
		}
	default:
		return nil, fmt.Errorf("scheduler: beta_schedule: unknown %q", c.BetaSchedule)
	}
	for i, b := range betas {
		if !(b > 0 && b < 1) {
			return nil, fmt.Errorf("scheduler: beta %d is %v; allowed: between 0 and 1", i, b)
		}
	}
	return betas, nil
}

// linspaceTorch is torch.linspace in float32: one fused multiply-add from the nearer end.
func linspaceTorch(dst []float32, start, end float32) {
	n := len(dst)
	step := (end - start) / float32(n-1)
	for i := range dst {
		if i < n/2 {
			dst[i] = fma(step, float32(i), start)
		} else {
			dst[i] = fma(-step, float32(n-1-i), end)
		}
	}
}

// cumulativeAlphas is torch.cumprod(1 - betas): accumulated in float64, each product stored as float32.
func cumulativeAlphas(betas []float32) []float32 {
	product := 1.0
	out := make([]float32, len(betas))
	for i, b := range betas {
		product *= float64(1 - b)
		out[i] = float32(product)
	}
	return out
}

// rescaleZeroTerminalSNR is algorithm 1 of arXiv 2305.08891 in float32.
func rescaleZeroTerminalSNR(betas []float32) []float32 {
	roots := cumulativeAlphas(betas)
	for i, a := range roots {
		roots[i] = float32(math.Sqrt(float64(a)))
	}
	first, last := roots[0], roots[len(roots)-1]
	scale := first / (first - last)
	out := make([]float32, len(betas))
	var previous float32
	for i, root := range roots {
		shifted := (root - last) * scale
		bar := float32(shifted * shifted) // rounded before the subtraction below
		if i == 0 {
			out[i] = 1 - bar
		} else {
			out[i] = 1 - bar/previous
		}
		previous = bar
	}
	return out
}

// alpha returns the cumulative alpha of a timestep; as in Python -1 is the last. A timestep past the end gives NaN,
// which the schedule's check of its coefficients refuses.
func (t *training) alpha(timestep int) float64 {
	if timestep < 0 {
		timestep += len(t.alphasCumprod)
	}
	if timestep < 0 || timestep >= len(t.alphasCumprod) {
		return math.NaN()
	}
	return float64(t.alphasCumprod[timestep])
}
