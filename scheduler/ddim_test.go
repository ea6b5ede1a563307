package scheduler

import (
	"math"
	"testing"
)

// At a zero terminal signal-to-noise ratio and eta 1 the first step keeps no direction. In diffusers 0.42.1, whose
// final values these are, float32's rounding of zero is left of it, whose root is up to 2.4e-4, or NaN where it is
// below zero (nil).
func TestDDIMAllNoiseAtZeroSNR(t *testing.T) {
	for n, want := range map[int][]float64{
		2: {-0.59186524, -0.24846327, -0.2942232, -0.45124567}, 4: {-0.8173239, -0.49240816, -0.28546953, -0.9776951},
		5: {-0.84780455, -0.40821058, 0.19388549, -0.9211782}, 10: {-0.32581002, -0.070182145, -0.05407869, 0.11600409},
		20: {-0.30387318, 0.0870095, 0.023585439, -0.61105996}, 3: nil, 7: nil, 25: nil, 30: nil, 50: nil,
	} {
		cfg := sdxl(t, "ddim", map[string]any{"rescale_betas_zero_snr": true, "prediction_type": "v_prediction", "timestep_spacing": "trailing"})
		s, err := cfg.Schedule(Options{Steps: n, Eta: 1})
		if err != nil {
			t.Errorf("%d steps: %v", n, err)
			continue
		}
		final, _, err := new(scheduleCase).run(s)
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range want {
			if got := float64(final[5*i]); !(math.Abs(got-w) <= 2.5e-4) {
				t.Errorf("%d steps: value %d is %v, want %v", n, 5*i, got, w)
			}
		}
		for i, v := range final {
			if !(math.Abs(float64(v)) < 10) {
				t.Errorf("%d steps: value %d is %v", n, i, v)
			}
		}
	}
}
