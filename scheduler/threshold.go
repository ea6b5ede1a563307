package scheduler

import (
	"errors"
	"math"
	"slices"
)

// Threshold is dynamic thresholding of x0 (arXiv 2205.11487): one image's values are clamped to the bound s and divided
// by it, where s is the Ratio-quantile of their magnitudes, at least 1 and at most Max.
type Threshold struct {
	Ratio float64 // dynamic_thresholding_ratio, 0 to 1
	Max   float64 // sample_max_value, positive; below 1 it is the bound itself
}

// threshold sets a step's Threshold or Clip as thresholding and clip_sample say; the first comes before the second. A
// largest bound of 1 is a clip at 1.
func (p *plan) threshold(s *Step) {
	c := p.c
	switch {
	case c.Thresholding && c.SampleMaxValue == 1:
		s.Clip = 1
	case c.Thresholding:
		s.Threshold = &Threshold{Ratio: c.DynamicThresholdingRatio, Max: c.SampleMaxValue}
	default:
		s.Clip = c.clip()
	}
}

// bound is s for x0 = a*x + b*m.
func (t *Threshold) bound(a, b float64, x, m []float32) float64 {
	magnitudes := make([]float32, len(x))
	for i := range x {
		magnitudes[i] = float32(math.Abs(a*float64(x[i]) + b*float64(m[i])))
	}
	return math.Min(math.Max(quantile(magnitudes, t.Ratio), 1), t.Max)
}

// quantile is torch.quantile with linear interpolation, whose rank is a float32. It sorts list. NaN in it, or an empty
// list, makes it NaN.
func quantile(list []float32, q float64) float64 {
	if len(list) == 0 || slices.ContainsFunc(list, func(v float32) bool { return v != v }) {
		return math.NaN()
	}
	slices.Sort(list)
	rank := float32(q) * float32(len(list)-1)
	low := int(rank)
	high := min(low+1, len(list)-1)
	weight := float64(rank - float32(low))
	return float64(list[low]) + weight*(float64(list[high])-float64(list[low]))
}

// LearnedVariance says how to read the second half of the channels of a model that predicts its variance, as DDPM's
// variance_type learned and learned_range do.
type LearnedVariance struct {
	// Range: the prediction v in [-1, 1] lies between the logarithms of the least and the greatest variance, Min and
	// Max. Else v is the variance itself.
	Range    bool
	Min, Max float64
}

// ScaleNoise multiplies unit normal noise by the standard deviation that the model predicts.
func (l *LearnedVariance) ScaleNoise(noise, predicted []float32) error {
	if len(noise) != len(predicted) {
		return errors.New("scheduler: the predicted variance and the noise differ in length")
	}
	for i, v := range predicted {
		deviation := math.Sqrt(float64(v))
		if l.Range {
			fraction := (float64(v) + 1) / 2
			deviation = math.Exp(0.5 * (fraction*l.Max + (1-fraction)*l.Min))
		}
		noise[i] *= float32(deviation)
	}
	return nil
}
