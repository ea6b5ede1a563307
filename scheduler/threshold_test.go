package scheduler

import (
	"math"
	"slices"
	"testing"
)

// torch.quantile of ten numbers, whose rank 0.9·9 = 8.1 lies between the last two.
func TestQuantileInterpolates(t *testing.T) {
	list := []float32{9, 0, 1, 8, 3, 2, 7, 4, 6, 5}
	if got := quantile(slices.Clone(list), 0.9); !(math.Abs(got-8.1) < 1e-5) {
		t.Errorf("%v, want 8.1", got)
	}
	for q, want := range map[float64]float64{0: 0, 1: 9} {
		if got := quantile(slices.Clone(list), q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if got := quantile([]float32{1, float32(math.NaN()), 2}, 0.5); !math.IsNaN(got) {
		t.Errorf("a list with NaN gives %v", got)
	}
	if got := quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("no list gives %v", got)
	}
}

// The bound is at least 1 and at most Max, which wins; x0 is clamped to it and divided by it.
func TestThresholdDividesByItsBound(t *testing.T) {
	for _, most := range []float64{4, 2, 0.5, 100} {
		step := Step{A: 1, Threshold: &Threshold{Ratio: 1, Max: most}, Matrix: [][]float64{{0, 1, 0, 0}}}
		x := []float32{-8, 2, 0.25, 8}
		if err := step.Apply(x, make([]float32, 4), nil, nil); err != nil {
			t.Fatal(err)
		}
		bound := math.Min(8, most)
		want := []float64{-1, math.Min(2/bound, 1), math.Min(0.25/bound, 1), 1}
		for i := range x {
			if !(math.Abs(float64(x[i])-want[i]) < 1e-6) {
				t.Errorf("Max %v: value %d is %v, want %v", most, i, x[i], want[i])
			}
		}
	}
	small := Step{A: 1, Threshold: &Threshold{Ratio: 0.5, Max: 3}, Matrix: [][]float64{{0, 1, 0, 0}}}
	x := []float32{0.1, -0.2, 0.3}
	if err := small.Apply(x, make([]float32, 3), nil, nil); err != nil || x[1] != -0.2 {
		t.Errorf("small values become %v, %v", x, err)
	}
}

func TestScaleNoise(t *testing.T) {
	noise := []float32{1, -2}
	if err := (&LearnedVariance{}).ScaleNoise(noise, []float32{4, 0.25}); err != nil || noise[0] != 2 || noise[1] != -1 {
		t.Errorf("%v, %v", noise, err)
	}
	noise = []float32{1, 1, 1}
	ranged := LearnedVariance{Range: true, Min: math.Log(0.01), Max: math.Log(0.09)}
	if err := ranged.ScaleNoise(noise, []float32{-1, 1, 0}); err != nil {
		t.Fatal(err)
	}
	for i, want := range []float64{0.1, 0.3, math.Sqrt(0.03)} {
		if !(math.Abs(float64(noise[i])-want) < 1e-6) {
			t.Errorf("deviation %d is %v, want %v", i, noise[i], want)
		}
	}
	if ranged.ScaleNoise(noise, noise[:1]) == nil {
		t.Error("a variance of another length passes")
	}
}

// ComfyUI's last cumulative alpha goes to every class that has betas, those without diffusers' rescaling too.
func TestTerminalAlpha(t *testing.T) {
	const alpha = 4.8973451890853435e-08
	for _, name := range []string{"euler", "heun", "lms", "ddim", "dpmpp_2m", "kdpm2_a", "sa_solver", "ddpm"} {
		cfg := sdxl(t, name, map[string]any{"zero_snr_terminal_alpha": alpha, "prediction_type": "v_prediction", "timestep_spacing": "trailing"})
		s, err := cfg.Schedule(Options{Steps: 8})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		first := s.Steps[0]
		if got, want := first.Sigma/first.Alpha, math.Sqrt((1-alpha)/alpha); first.Timestep != 999 || !(math.Abs(got-want) < 1e-6*want) {
			t.Errorf("%s: sigma %v at timestep %v, want %v at 999", name, got, first.Timestep, want)
		}
	}
}
