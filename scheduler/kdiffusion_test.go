package scheduler

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
)

type kCase struct {
	scheduleCase
	Evaluations [][2]float64 `json:"evaluations"` // timestep and sigma of each call of the model
}

type kGolden struct {
	Cases []kCase `json:"cases"`
}

// kSigmaTolerance is relative: A1111 and ComfyUI compute sigmas in float32, powers and exponentials of logarithms too.
const kSigmaTolerance = 2e-6

// TestKDiffusion compares every sampler with every schedule, as A1111 and ComfyUI run them.
func TestKDiffusion(t *testing.T) {
	golden := readGolden[kGolden](t, "kdiffusion.json.gz")
	if len(golden.Cases) < 1500 {
		t.Fatalf("only %d cases in the golden", len(golden.Cases))
	}
	bases := map[string]json.RawMessage{"sdxl": json.RawMessage(sdxlConfig)}
	used, counts, failures := budget{}, map[string]int{}, 0
	for i := range golden.Cases {
		c := &golden.Cases[i]
		counts[c.As]++
		if err := c.check(bases, used); err != nil {
			if failures++; failures <= 40 {
				t.Errorf("case %d, %s: %v", i, c, err)
			}
		}
	}
	if failures > 0 {
		t.Errorf("%d of %d cases failed", failures, len(golden.Cases))
	}
	t.Logf("%d names, fraction of tolerance used %v", len(counts), used)
}

func (c *kCase) check(bases map[string]json.RawMessage, used budget) error {
	cfg, err := c.config(bases)
	if err != nil {
		return err
	}
	s, err := cfg.Schedule(c.options())
	if c.NotFinite {
		if err == nil {
			return fmt.Errorf("the reference is not finite, but there is no error")
		}
		return nil
	}
	if err != nil {
		return err
	}
	if len(s.Steps) != len(c.Evaluations) {
		return fmt.Errorf("%d evaluations, want %d", len(s.Steps), len(c.Evaluations))
	}
	for i, step := range s.Steps {
		want := c.Evaluations[i]
		if !used.near("timestep", step.Timestep, want[0], 1, timestepTolerance) || want[1] != 0 && !used.near("sigma", step.Sigma, want[1], want[1], kSigmaTolerance) {
			return fmt.Errorf("evaluation %d at timestep %v, sigma %v, want %v", i, step.Timestep, step.Sigma, want)
		}
	}
	if c.Options.Strength == 0 && !used.near("init", s.InitNoiseSigma, c.Init, c.Init, kSigmaTolerance) {
		return fmt.Errorf("init noise sigma %v, want %v", s.InitNoiseSigma, c.Init)
	}
	final, _, err := c.run(s)
	if err != nil {
		return err
	}
	reference := c.Final
	if c.Wide != nil {
		reference = c.Wide
	}
	var scale float64
	for _, v := range reference {
		scale = max(scale, math.Abs(v))
	}
	for i, want := range reference {
		if !used.near("final", float64(final[5*i]), want, scale, c.tolerance(finalTolerance)) {
			return fmt.Errorf("final value %d is %v, want %v", 5*i, final[5*i], want)
		}
	}
	return nil
}
