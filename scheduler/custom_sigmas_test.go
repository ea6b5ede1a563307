package scheduler

import (
	"math"
	"testing"
)

// Final sigmas of final_sigmas_type sigma_min, as diffusers' own test of custom sigmas has them: the last two are
// equal, so that the last step stays where it is. The expected sums of |x| are diffusers 0.42.1's.
func TestCustomSigmasThatEndTwiceTheSame(t *testing.T) {
	sigmas := []float64{261.05557, 81.405685, 29.11212, 11.912565, 5.5358195, 2.8648756, 1.5868177, 0.87408251, 0.40016323, 0.01000133, 0.01000133}
	for prediction, c := range map[string]struct{ want, lastDigit float64 }{"epsilon": {10.08068, 1e-5}, "sample": {2.907e-4, 1e-7}, "v_prediction": {2.42e-10, 1e-12}} {
		cfg, err := Default(Euler)
		if err != nil {
			t.Fatal(err)
		}
		cfg, err = cfg.With(map[string]any{"num_train_timesteps": 1100, "prediction_type": prediction, "final_sigmas_type": "sigma_min"})
		if err != nil {
			t.Fatal(err)
		}
		s, err := cfg.Schedule(Options{Sigmas: sigmas})
		if err != nil {
			t.Errorf("%s: %v", prediction, err)
			continue
		}
		const n = 4 * 3 * 8 * 8
		x, m := make([]float32, n), make([]float32, n)
		for i := range x {
			x[i] = float32(i) / n * float32(s.InitNoiseSigma)
		}
		for i := range s.Steps {
			step := &s.Steps[i]
			for k := range x { // that test hands the scaled input on to the step
				x[k] *= float32(step.InputScale)
				m[k] = x[k] * float32(step.Timestep) / float32(step.Timestep+1)
			}
			if err := step.Apply(x, m, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		sum := 0.0
		for _, v := range x {
			sum += math.Abs(float64(v))
		}
		if !(math.Abs(sum-c.want) <= c.lastDigit) {
			t.Errorf("%s: the sum of |x| is %v, want %v", prediction, sum, c.want)
		}
	}
}

// Equal sigmas make a step that goes nowhere, wherever they stand.
func TestEqualSigmasStayInPlace(t *testing.T) {
	s, err := sdxl(t, "euler", nil).Schedule(Options{Sigmas: []float64{10, 3, 3, 1, 0}})
	if err != nil {
		t.Fatal(err)
	}
	x := []float32{1.5, -2}
	if err := s.Steps[1].Apply(x, []float32{7, 8}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if x[0] != 1.5 || x[1] != -2 {
		t.Errorf("latents %v after a step from sigma 3 to 3", x)
	}
}
