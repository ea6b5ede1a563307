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
	rescale := c.RescaleZeroSNR || c.ZeroSNRTerminalAlpha != nil
	if rescale {
		betas = rescaleZeroTerminalSNR(betas)
	}
	t := &training{alphasCumprod: cumulativeAlphas(betas)}
	last := len(betas) - 1
	switch c.Class {
	case Euler, EulerAncestral, DPMSolver, UniPC:
		if rescale {
			t.alphasCumprod[last] = zeroSNRFloor
		}
	}
	if c.ZeroSNRTerminalAlpha != nil {
		t.alphasCumprod[last] = float32(*c.ZeroSNRTerminalAlpha)
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
	if len(c.TrainedBetas) > 0 {
		n = len(c.TrainedBetas)
	}
	betas := make([]float32, n)
	if len(c.TrainedBetas) > 0 {
		for i, b := range c.TrainedBetas {
			betas[i] = float32(b)
		}
	} else if bar := alphaBars[c.BetaSchedule]; bar != nil {
		for i := range betas {
			betas[i] = float32(min(1-bar(float64(i+1)/float64(n))/bar(float64(i)/float64(n)), 0.999))
		}
	} else {
		switch c.BetaSchedule {
		case "linear":
			linspaceTorch(betas, float32(c.BetaStart), float32(c.BetaEnd))
		case "scaled_linear":
			linspaceTorch(betas, float32(math.Sqrt(c.BetaStart)), float32(math.Sqrt(c.BetaEnd)))
			for i, root := range betas {
				betas[i] = root * root
			}
		case "sigmoid":
			linspaceTorch(betas, -6, 6)
			for i, x := range betas {
				betas[i] = float32(float32(1/(1+math.Exp(-float64(x))))*float32(c.BetaEnd-c.BetaStart)) + float32(c.BetaStart)
			}
		default:
			return nil, fmt.Errorf("scheduler: beta_schedule: unknown %q", c.BetaSchedule)
		}
	}
	for i, b := range betas {
		if !(b > 0 && b < 1) {
			return nil, fmt.Errorf("scheduler: beta %d is %v; allowed: between 0 and 1", i, b)
		}
	}
	return betas, nil
}

// alphaBars are the cumulative alphas, by the fraction t of the training timesteps, of the beta schedules that are
// defined by them.
var alphaBars = map[string]func(t float64) float64{
	"squaredcos_cap_v2": func(t float64) float64 {
		cos := math.Cos((t + 0.008) / 1.008 * math.Pi / 2)
		return cos * cos
	},
	"exp": func(t float64) float64 { return math.Exp(t * -12) },
	"laplace": func(t float64) float64 {
		lambda := -0.5 * math.Copysign(1, 0.5-t) * math.Log(1-2*math.Abs(0.5-t)+1e-6)
		snr := math.Exp(lambda)
		return math.Sqrt(snr / (1 + snr))
	},
}

// linspaceTorch is torch.linspace in float32: one fused multiply-add from the nearer end.
func linspaceTorch(dst []float32, start, end float32) {
	n := len(dst)
	if n == 1 {
		dst[0] = start
		return
	}
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
