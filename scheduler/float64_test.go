package scheduler

import (
	"math"
	"strings"
	"testing"
)

// What is left where both sides compute in float64 with the same float32 sigmas. DPM-Solver-2's middle levels, which
// diffusers finds through logarithms in float32, may be off by a float32's last bits.
const (
	float64Tolerance = 1e-12
	middleTolerance  = 2e-7
)

// TestCoefficientsInFloat64 compares the coefficients of steps with float64 runs of upstream's own code.
func TestCoefficientsInFloat64(t *testing.T) {
	golden := readGolden[scheduleGolden](t, "float64.json.gz")
	if len(golden.Cases) < 200 {
		t.Fatalf("only %d cases in the golden", len(golden.Cases))
	}
	worst := map[string]float64{}
	for i := range golden.Cases {
		c := &golden.Cases[i]
		cfg, err := c.config(golden.Bases)
		if err != nil {
			t.Fatal(err)
		}
		s, err := cfg.Schedule(c.options())
		if err != nil {
			t.Errorf("%s: %v", c, err)
			continue
		}
		final := c.runFloat64(s)
		var scale, difference float64
		for k, want := range c.Final {
			scale, difference = max(scale, math.Abs(want)), max(difference, math.Abs(final[5*k]-want))
		}
		worst[c.As] = max(worst[c.As], difference/scale)
		tolerance := float64Tolerance
		if strings.HasPrefix(c.As, "kdpm2") {
			tolerance = middleTolerance
		}
		if !(difference <= tolerance*scale) {
			t.Errorf("%s: %v, want %v", c, final, c.Final)
		}
	}
	t.Logf("relative differences %v", worst)
}

// runFloat64 takes the steps of a schedule in float64, with noise as float32 draws it.
func (c *scheduleCase) runFloat64(s *Schedule) []float64 {
	const n = 16
	ofK := strings.HasPrefix(c.As, "k_") || strings.HasPrefix(c.As, "comfy_")
	g := NewGenerator(0)
	noise := make([]float32, n)
	state := make([][]float64, 1+s.History) // x and the history
	for i := range state {
		state[i] = make([]float64, n)
	}
	for k := range n {
		state[0][k] = float64(float32(float64(k)/10-0.75)) * s.InitNoiseSigma
		if ofK {
			state[0][k] = float64(float32(float64(k)/10-0.75)) * c.Options.Sigmas[0]
		}
	}
	var path *Brownian
	levels := c.Levels
	if len(levels) > 0 {
		path, levels = NewBrownian(n, levels[0][0], levels[0][1], 0), levels[1:]
	}
	for i := range s.Steps {
		step := &s.Steps[i]
		switch {
		case step.HasPath():
			path.Noise(noise, levels[0][0], levels[0][1])
			levels = levels[1:]
		case step.Noise:
			g.Randn(noise)
		}
		for k := range n {
			x := state[0][k]
			m := 0.3*x*step.InputScale + 0.001*step.Timestep - 0.2
			if !ofK { // diffusers' timesteps make a float32 of it
				m = 0.3*x*step.InputScale + float64(float32(0.001)*float32(step.Timestep)) - 0.2
			}
			in := []float64{x, step.A*x + step.B*m, m, float64(noise[k])}
			for _, h := range state[1:] {
				in = append(in, h[k])
			}
			if s.Unconditional {
				in[len(in)-1] = 0.2*x*step.InputScale + 0.0005*step.Timestep + 0.1
			}
			for r, row := range step.Matrix {
				state[r][k] = 0
				for j, f := range row {
					state[r][k] += f * in[j]
				}
			}
		}
	}
	return state[0]
}
