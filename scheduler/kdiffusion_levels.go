package scheduler

import (
	"fmt"
	"math"
)

// levels are k-diffusion's DiscreteSchedule: the noise levels that a model was trained at, between which it
// interpolates the logarithm of sigma.
type levels struct {
	sigmas  []float64 // ascending
	logs    []float64
	nearest bool // a sigma has the timestep of the nearest level
	stride  int  // level i is timestep (i+1)*stride - 1
}

func newLevels(c *Config, t *training) *levels {
	l := &levels{nearest: c.EnableQuantization, stride: 1}
	if c.LCMDenoiser { // LCMCompVisDenoiser: the 50 timesteps of the distillation
		l.nearest, l.stride = true, 20
	}
	for i := l.stride - 1; i < len(t.sigmas); i += l.stride {
		l.sigmas = append(l.sigmas, float64(t.sigmas[i]))
		l.logs = append(l.logs, float64(t.logSigmas[i]))
	}
	return l
}

// timestep is sigma_to_t.
func (l *levels) timestep(sigma float64) float64 {
	wanted := math.Log(sigma)
	var index float64
	if l.nearest { // in float32, whose rounding decides between levels that are equally near: sgm_uniform has such
		best, wanted := float32(math.Inf(1)), float32(math.Log(float64(float32(sigma))))
		for i, v := range l.logs {
			if d := max(wanted-float32(v), float32(v)-wanted); d < best {
				best, index = d, float64(i)
			}
		}
	} else {
		low := 0
		for i, v := range l.logs[:len(l.logs)-1] {
			if v <= wanted {
				low = i
			}
		}
		w := (l.logs[low] - wanted) / (l.logs[low] - l.logs[low+1])
		index = float64(low) + min(max(w, 0), 1)
	}
	return (index+1)*float64(l.stride) - 1
}

// sigma is t_to_sigma, in float32 as its rounding is seen in ComfyUI's nearest timesteps.
func (l *levels) sigma(timestep float64) float64 {
	index := (timestep+1)/float64(l.stride) - 1
	index = min(max(index, 0), float64(len(l.logs)-1))
	low, high := math.Floor(index), math.Ceil(index)
	w := float32(index - low)
	return float64(float32(math.Exp(float64(float32((1-w)*float32(l.logs[int(low)])) + float32(w*float32(l.logs[int(high)]))))))
}

// kZeroSNRAlpha is the last cumulative alpha of a schedule with zero terminal SNR in A1111 and ComfyUI.
const kZeroSNRAlpha = 4.8973451890853435e-08

// newKTraining is the noise schedule as A1111 computes it, in float64 with cumulative alphas rounded to float32, or with
// float64_sigmas as ComfyUI does, which rounds sigmas alone: the lowest differ by 1e-5.
func newKTraining(c *Config) (*training, error) {
	betas, err := c.betas64()
	if err != nil {
		return nil, err
	}
	wide, narrow := make([]float64, len(betas)), make([]float32, len(betas))
	product := 1.0
	for i, b := range betas {
		product *= 1 - b
		wide[i], narrow[i] = product, float32(product)
	}
	if c.RescaleZeroSNR {
		rescaleAlphas(wide)
		rescaleAlphas(narrow)
	}
	t := &training{alphasCumprod: narrow}
	for i, a := range narrow {
		sigma := math.Sqrt((1 - wide[i]) / wide[i])
		if !c.Float64Sigmas {
			sigma = float64(float32(math.Sqrt(float64((1 - a) / a))))
		}
		t.sigmas = append(t.sigmas, float32(sigma))
		t.logSigmas = append(t.logSigmas, float32(math.Log(sigma)))
	}
	return t, nil
}

// rescaleAlphas is rescale_zero_terminal_snr_abar of A1111, rescale_zero_terminal_snr_sigmas of ComfyUI.
func rescaleAlphas[T float32 | float64](alphas []T) {
	for i, a := range alphas {
		alphas[i] = T(math.Sqrt(float64(a)))
	}
	first, last := alphas[0], alphas[len(alphas)-1]
	scale := first / (first - last)
	for i, root := range alphas {
		shifted := T(T(root-last) * scale)
		alphas[i] = T(shifted * shifted)
	}
	alphas[len(alphas)-1] = kZeroSNRAlpha
}

// betas64 are the betas in float64: numpy's linspace, as in LegacyDDPMDiscretization.
func (c *Config) betas64() ([]float64, error) {
	n := c.NumTrainTimesteps
	var betas []float64
	switch {
	case len(c.TrainedBetas) > 0:
		betas = c.TrainedBetas
	case c.BetaSchedule == "linear":
		betas = linspace(c.BetaStart, c.BetaEnd, n)
	case c.BetaSchedule == "scaled_linear":
		betas = linspace(math.Sqrt(c.BetaStart), math.Sqrt(c.BetaEnd), n)
		for i, root := range betas {
			betas[i] = root * root
		}
	case c.BetaSchedule == "squaredcos_cap_v2":
		bar := func(i int) float64 {
			cos := math.Cos((float64(i)/float64(n) + 0.008) / 1.008 * math.Pi / 2)
			return cos * cos
		}
		for i := range n {
			betas = append(betas, min(1-bar(i+1)/bar(i), 0.999))
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
