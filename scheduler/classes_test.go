package scheduler

import (
	"math"
	"strings"
	"testing"
)

// The classes and options that schedules.json.gz does not reach.
func TestClassesMatchDiffusers(t *testing.T) { matchGolden(t, "classes.json.gz", 1500) }

// The increments of torchsde's Brownian tree, bit for bit.
func TestBrownianIsTorchsde(t *testing.T) {
	golden := readGolden[struct {
		Paths []struct {
			Seed      uint64
			Low, High float64
			N         int
			From, To  float64
			W         []float32
		}
	}](t, "classes.json.gz")
	if len(golden.Paths) < 20 {
		t.Fatalf("only %d increments in the golden", len(golden.Paths))
	}
	for _, c := range golden.Paths {
		b := NewBrownian(c.N, c.Low, c.High, c.Seed)
		got := make([]float32, c.N)
		b.increment(got, c.From, c.To)
		for i, want := range c.W {
			if math.Float32bits(got[i]) != math.Float32bits(want) && (got[i] != 0 || want != 0) {
				t.Errorf("seed %d, from %v to %v: value %d is %v, want %v", c.Seed, c.From, c.To, i, got[i], want)
			}
		}
		// Noise is the increment in units of its deviation, with the sign of its direction.
		noise := make([]float32, c.N)
		b.Noise(noise, c.To, c.From)
		for i, want := range c.W {
			scaled := 0.0
			if c.From != c.To {
				scaled = -float64(want) / math.Sqrt(c.To-c.From)
			}
			if !(math.Abs(float64(noise[i])-scaled) <= 1e-6*math.Max(1, math.Abs(scaled))) {
				t.Errorf("seed %d, noise from %v to %v: value %d is %v, want %v", c.Seed, c.To, c.From, i, noise[i], scaled)
			}
		}
	}
}

// The third order of these is not there in diffusers either, which crashes where a run is long enough to come to it.
func TestMissingThirdOrder(t *testing.T) {
	for _, config := range []string{
		`{"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3, "algorithm_type": "sde-dpmsolver", "final_sigmas_type": "sigma_min"}`,
		`{"_class_name": "EDMDPMSolverMultistepScheduler", "solver_order": 3, "algorithm_type": "sde-dpmsolver++"}`,
	} {
		cfg, err := Parse([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.Schedule(Options{Steps: 3}); err != nil {
			t.Errorf("%s, 3 steps: %v", config, err)
		}
		if _, err := cfg.Schedule(Options{Steps: 20}); err == nil || !strings.Contains(err.Error(), "solver_order") {
			t.Errorf("%s, 20 steps: %v", config, err)
		}
	}
}

// paths says whether Levels are those of a Brownian path, its own first. A path's values change with the last bits of the
// levels that it is asked for, which are the host's in the reference; so it is asked for at the reference's.
func (c *scheduleCase) paths() bool {
	name := strings.TrimPrefix(strings.TrimPrefix(c.As, "k_"), "comfy_")
	return len(c.Levels) > 0 && c.With["eta_ancestral"] != 0.0 && (name != c.As || strings.HasPrefix(name, "dpmpp_sde"))
}

func sameLevels(a, b [2]float64) bool {
	return math.Abs(a[0]-b[0]) <= 5e-7*b[0] && math.Abs(a[1]-b[1]) <= 5e-7*b[1]
}
