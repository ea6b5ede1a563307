package scheduler

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Step is one model evaluation and the affine map after it; see the package comment.
type Step struct {
	Timestep   float64 // input of the model
	InputScale float64 // scale_model_input: the model gets x*InputScale
	A, B       float64 // x0 = A*x + B*m
	Clip       float64 // bound of |x0|, 0 for none
	// Threshold, where it is not nil, replaces Clip by dynamic thresholding, whose bound depends on the values of one
	// image: such a step is no affine map, and Apply is the way to take it.
	Threshold *Threshold
	// Matrix is (1+K) rows of 4+K: the new x, h1 … hK from x, x0, m, noise, h1 … hK.
	Matrix [][]float64
	Noise  bool // unit normal noise must be drawn, even if its coefficient is zero
	// Path, where its two noise levels differ, asks for the noise of a Brownian path between them (Brownian.Noise, over
	// Schedule.PathRange) in place of a fresh draw.
	Path [2]float64
	// Variance, where it is not nil, is what the second half of the model's channels means; its ScaleNoise turns the
	// drawn noise into the one of Matrix.
	Variance *LearnedVariance

	// Latents at the noise level of this step, before it, are Alpha*clean + Sigma*noise (add_noise).
	Alpha, Sigma float64
}

// HasPath reports whether the step's noise is that of a Brownian path.
func (s *Step) HasPath() bool { return s.Path[0] != s.Path[1] }

var errNotFinite = errors.New("a coefficient is not finite: the options ask for a division by zero")

func (s *Step) check() error {
	numbers := []float64{s.Timestep, s.InputScale, s.A, s.B, s.Clip, s.Alpha, s.Sigma, s.Path[0], s.Path[1]}
	for _, v := range append(numbers, slices.Concat(s.Matrix...)...) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return errNotFinite
		}
	}
	return nil
}

// Apply computes the step in place on x and h: m is the model's output, noise unit normal (nil where Noise is not
// set). All have the length of x; h has the schedule's History tensors. It is the reference that devices are compared
// with, and serves custom sampling loops. With a Threshold all of them are those of a single image; otherwise they may
// be a batch's.
func (s *Step) Apply(x, m, noise []float32, h [][]float32) error {
	if len(h) != len(s.Matrix)-1 {
		return fmt.Errorf("scheduler: %d history tensors; the step has %d", len(h), len(s.Matrix)-1)
	}
	if len(m) != len(x) {
		return fmt.Errorf("scheduler: model output has %d values, x has %d", len(m), len(x))
	}
	if s.Noise && len(noise) != len(x) {
		return fmt.Errorf("scheduler: noise has %d values, x has %d", len(noise), len(x))
	}
	for i := range h {
		if len(h[i]) != len(x) {
			return fmt.Errorf("scheduler: history %d has %d values, x has %d", i, len(h[i]), len(x))
		}
	}
	bound := 0.0
	if s.Threshold != nil {
		bound = s.Threshold.bound(s.A, s.B, x, m)
	}
	in := make([]float64, 4+len(h))
	for i := range x {
		x0 := s.A*float64(x[i]) + s.B*float64(m[i])
		switch {
		case s.Threshold != nil:
			x0 = min(max(x0, -bound), bound) / bound
		case s.Clip > 0:
			x0 = min(max(x0, -s.Clip), s.Clip)
		}
		in[0], in[1], in[2] = float64(x[i]), x0, float64(m[i])
		if s.Noise {
			in[3] = float64(noise[i])
		}
		for k := range h {
			in[4+k] = float64(h[k][i])
		}
		for r, row := range s.Matrix {
			var sum float64
			for k, coefficient := range row {
				sum += coefficient * in[k]
			}
			if r == 0 {
				x[i] = float32(sum)
			} else {
				h[r-1][i] = float32(sum)
			}
		}
	}
	return nil
}
