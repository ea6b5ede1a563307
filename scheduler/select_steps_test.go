package scheduler

import "testing"

// The cut-off 1000 - 1000*d is rounded half to even: 200.5 to 200, 201.5 to 202.
func TestCutOffRoundsHalfToEven(t *testing.T) {
	timesteps := []float64{999, 201, 200, 1}
	for _, c := range []struct {
		fraction float64
		after    int // steps that a refiner runs
	}{{0.7995, 1}, {0.7985, 3}} {
		refiner, err := sdxl(t, "euler", nil).Schedule(Options{Timesteps: timesteps, DenoisingStart: c.fraction})
		if err != nil {
			t.Fatal(err)
		}
		base, err := sdxl(t, "euler", nil).Schedule(Options{Timesteps: timesteps, DenoisingEnd: c.fraction})
		if err != nil {
			t.Fatal(err)
		}
		if len(refiner.Steps) != c.after || len(base.Steps) != len(timesteps)-c.after {
			t.Errorf("fraction %v: base %d, refiner %d steps; want %d and %d", c.fraction, len(base.Steps), len(refiner.Steps),
				len(timesteps)-c.after, c.after)
		}
	}
}

// The published ensemble of experts: 40 steps, of which the base runs 32 and the refiner 8.
func TestEnsembleSplit(t *testing.T) {
	cfg := sdxl(t, "", nil)
	base, err := cfg.Schedule(Options{Steps: 40, DenoisingEnd: 0.8})
	if err != nil {
		t.Fatal(err)
	}
	refiner, err := cfg.Schedule(Options{Steps: 40, DenoisingStart: 0.8})
	if err != nil {
		t.Fatal(err)
	}
	if len(base.Steps) != 32 || len(refiner.Steps) != 8 || refiner.First != 32 {
		t.Errorf("base %d, refiner %d from %d", len(base.Steps), len(refiner.Steps), refiner.First)
	}
}

// A fraction in which no timestep lies leaves no step, and no error: diffusers' pipelines then pass their latents on.
func TestShareWithoutSteps(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"dpmpp_2m", Options{Steps: 3, DenoisingStart: 0.8}},
		{"euler", Options{Steps: 1, DenoisingEnd: 0.8}},
		{"euler", Options{Steps: 10, DenoisingEnd: 0.05}},
		{"heun", Options{Steps: 10, DenoisingEnd: 0.05}},
		{"unipc_karras", Options{Steps: 4, DenoisingStart: 0.9999}},
		{"tcd", Options{Timesteps: []float64{500, 100}, DenoisingEnd: 0.4}},
	} {
		cfg := sdxl(t, c.name, nil)
		s, err := cfg.Schedule(c.o)
		if err != nil {
			t.Errorf("%s %+v: %v", c.name, c.o, err)
			continue
		}
		full := c.o
		full.DenoisingStart, full.DenoisingEnd = 0, 0
		whole, err := cfg.Schedule(full)
		if err != nil {
			t.Fatal(err)
		}
		first := 0
		if c.o.DenoisingStart > 0 {
			first = len(whole.Steps)
		}
		if len(s.Steps) != 0 || s.First != first || s.InitNoiseSigma != whole.InitNoiseSigma {
			t.Errorf("%s %+v: %d steps from %d, initial sigma %v; want none from %d, %v", c.name, c.o, len(s.Steps), s.First, s.InitNoiseSigma, first, whole.InitNoiseSigma)
		}
	}
}

// Image-to-image adds noise to its latents up to the level at which its strength begins, also where denoising_end leaves no step
// from there.
func TestLevelWithoutSteps(t *testing.T) {
	for _, name := range []string{"euler", "ddim", "dpmpp_2m_karras"} {
		cfg := sdxl(t, name, nil)
		s, err := cfg.Schedule(Options{Steps: 10, Strength: 0.3, DenoisingEnd: 0.2})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		whole, err := cfg.Schedule(Options{Steps: 10, Strength: 0.3})
		if err != nil {
			t.Fatal(err)
		}
		scale, sigma := s.AddNoise(0)
		if wantScale, wantSigma := whole.AddNoise(0); len(s.Steps) != 0 || scale != wantScale || sigma != wantSigma {
			t.Errorf("%s: %d steps, level %v, %v; want none, %v, %v", name, len(s.Steps), scale, sigma, wantScale, wantSigma)
		}
	}
}
